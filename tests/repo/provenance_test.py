"""Committed data is what its PROVENANCE.md says: every file listed, every sha256 right."""
import hashlib
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([^`]+)` \|.*$", re.MULTILINE)
SHA256 = re.compile(r"`([0-9a-f]{64})`")


def rows(path):
    """{first column: [sha256...]} of the tables in a PROVENANCE.md."""
    found = {}
    for match in ROW.finditer((ROOT / path).read_text(encoding="utf-8")):
        sums = SHA256.findall(match[0])
        if sums:
            found[match[1]] = sums
    return found


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Provenance(unittest.TestCase):
    def test_data(self):
        listed = rows("data/PROVENANCE.md")
        files = {p.name for p in (ROOT / "data").iterdir() if p.name != "PROVENANCE.md"}
        self.assertEqual(files, set(listed))
        for name, (expected,) in listed.items():
            self.assertEqual(sha256(ROOT / "data" / name), expected, name)

    def test_golden(self):
        listed = rows("golden/PROVENANCE.md")
        folders = {p.name for p in (ROOT / "golden").iterdir() if p.is_dir()}
        self.assertEqual(folders, {name.split("/")[0] for name in listed})
        for name, sums in listed.items():
            if "/" in name:  # weights alone, in another form of file
                self.assertEqual([sha256(ROOT / "golden" / name)], sums, name)
                continue
            model, case = sums
            self.assertEqual(sha256(ROOT / "golden" / name / "model.safetensors"), model, name)
            self.assertEqual(sha256(ROOT / "golden" / name / "case.safetensors"), case, name)
        weights = {str(p.relative_to(ROOT / "golden")) for p in (ROOT / "golden").glob("format-*/*")
                   if p.suffix != ".json"}
        self.assertEqual(weights, {name for name in listed if "/" in name})

    def check_folder(self, name):
        folder = ROOT / "tests" / name
        listed = rows(f"tests/{name}/PROVENANCE.md")
        files = {p.relative_to(folder).as_posix() for p in folder.rglob("*")
                 if p.is_file() and p.name != "PROVENANCE.md"}
        self.assertEqual(files, set(listed))
        for file, (expected,) in listed.items():
            self.assertEqual(sha256(folder / file), expected, file)

    def test_tokenizers(self):
        self.check_folder("tokenizers")

    def test_optimizers(self):
        self.check_folder("optimizers")

    def test_metrics(self):
        folder = ROOT / "tests" / "metrics"
        listed = rows("tests/metrics/PROVENANCE.md")
        self.assertEqual({p.name for p in folder.iterdir()} - {"PROVENANCE.md"}, set(listed))
        for name, (expected,) in listed.items():
            self.assertEqual(sha256(folder / name), expected, name)

    def test_metrics_and_steps(self):
        for where in ("tests/metrics", "tests/steps"):
            folder = ROOT / where
            listed = rows(f"{where}/PROVENANCE.md")
            self.assertEqual({p.name for p in folder.iterdir()} - {"PROVENANCE.md"}, set(listed))
            for name, (expected,) in listed.items():
                self.assertEqual(sha256(folder / name), expected, name)

    def test_vectors(self):
        folder = ROOT / "tests" / "vectors"
        listed = rows("tests/vectors/PROVENANCE.md")
        files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        self.assertEqual(files - {"PROVENANCE.md"}, set(listed))
        for name, (expected,) in listed.items():
            self.assertEqual(sha256(folder / name), expected, name)


if __name__ == "__main__":
    unittest.main()
