"""Documents of tools/planted_retrieval.py are found by a sentence of their last quarter alone."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import planted_retrieval  # noqa: E402


class Planted(unittest.TestCase):
    def write(self, folder, *arguments):
        planted_retrieval.main([str(folder), "--documents", "30", "--held-out", "10", "--words", "80", *arguments])
        return [json.loads(line) for name in ("train.jsonl", "test.jsonl")
                for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    def test_documents(self):
        with tempfile.TemporaryDirectory() as name:
            rows = self.write(Path(name))
            self.assertEqual(len(rows), 40)
            documents = [row["positive"] for row in rows]
            for row in rows:
                self.assertEqual([row["anchor"] in text for text in documents].count(True), 1)
                before, _ = row["positive"].split(row["anchor"])
                self.assertGreaterEqual(len(before.split()), 0.75 * len(row["positive"].split()))
                # Without its sentence a document is filler that all of them share.
                rest = row["positive"].replace(row["anchor"], "").split(". ")
                known = {sentence.rstrip(".") for sentence in planted_retrieval.FILLER}
                self.assertLessEqual({part.strip().rstrip(".") for part in rest if part.strip()}, known)
            self.assertEqual(self.write(Path(name)), rows)
            self.assertNotEqual(self.write(Path(name), "--seed", "2"), rows)


if __name__ == "__main__":
    unittest.main()
