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
        planted_retrieval.main([str(folder), "--tokens", "256", "--documents", "3", "--held-out", "10", *arguments])
        return [[json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
                for name in ("train", "test")]

    def test_documents(self):
        with tempfile.TemporaryDirectory() as name:
            train, test = parts = self.write(Path(name))
            self.assertEqual((len(train), len(test)), (3 + 6 + 12, 10))
            rows = train + test
            documents = [row["positive"] for row in rows]
            known = (Path(name) / "start/vocab.txt").read_text(encoding="utf-8").split()
            lengths = []
            for row in rows:
                self.assertEqual([row["anchor"] in text for text in documents].count(True), 1)
                words = row["positive"].split()
                lengths.append(len(words))
                self.assertLessEqual(set(words), set(known))
                before, after = row["positive"].split(row["anchor"])
                self.assertGreaterEqual(len(before.split()), 0.75 * len(words))
                # Without its sentence a document is filler that all of them share.
                rest = (before + after).split(" .")
                filler = {sentence.removesuffix(" .") for sentence in planted_retrieval.FILLER}
                self.assertLessEqual({part.strip() for part in rest if part.strip()}, filler)
            self.assertTrue(all(240 < length <= 254 for length in lengths[:3] + lengths[-10:]), lengths)
            self.assertTrue(all(50 < length <= 62 for length in lengths[9:21]), lengths)
            self.assertEqual(self.write(Path(name)), parts)
            self.assertNotEqual(self.write(Path(name), "--seed", "2"), parts)


if __name__ == "__main__":
    unittest.main()
