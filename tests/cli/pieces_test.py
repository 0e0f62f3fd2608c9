#!/usr/bin/env python3
"""longspan tokenize train, models on pieces, packed rows and data stats, from outside.

usage: pieces_test.py PROGRAM [unittest options]
"""
import json
import subprocess
import sys

import support
from support import ROOT, Case, main, run

NOVEL = ROOT / "data" / "persuasion.txt"
SPIECE = ROOT / "tests" / "tokenizers" / "spiece-unigram"


class Pieces(Case):
    def part(self, size=40000):
        file = self.dir / "part.txt"
        file.write_bytes(NOVEL.read_bytes()[:size])
        return file

    def learn(self, out, *more):
        return json.loads(self.ok("tokenize", "train", self.part(), "--json", "-o", self.dir / out,
                                  *more))

    def test_a_vocabulary_of_both_kinds(self):
        for kind in ("bpe", "unigram"):
            first = self.learn("a", "--kind", kind, "--vocab-size", "500", "--overwrite")
            self.assertEqual(first["vocabulary"], 500)
            self.assertGreater(first["bytes_per_token"], 1.5)
            self.assertEqual(first["unknown_tokens"], 0)
            self.learn("b", "--kind", kind, "--vocab-size", "500", "--overwrite", "-t", "1")
            for name in ("spiece.model", "tokenizer.json", "tokenizer_config.json"):
                self.assertEqual((self.dir / "a" / name).read_bytes(),
                                 (self.dir / "b" / name).read_bytes(), name)
            # The library reads the model as the file of the `tokenizers` package has it.
            (self.dir / "b" / "tokenizer.json").unlink()
            (self.dir / "b" / "tokenizer_config.json").unlink()
            ids = [self.ok("tokenize", "-m", self.dir / d, "--ids", "-f", self.part(9000))
                   for d in ("a", "b")]
            self.assertEqual(ids[0], ids[1])
            back = self.ok("tokenize", "-m", self.dir / "b", "--decode", ids[0])
            self.assertEqual(back, self.part(9000).read_text() + "\n")

    def test_train_eval_and_generate_on_pieces(self):
        self.learn("pieces", "--vocab-size", "320", "--no-byte-fallback")
        start, out = self.dir / "on-pieces", self.dir / "run"
        self.ok("init", "--preset", "tiny", "--tokenizer", self.dir / "pieces", "-o", start)
        config = json.loads((start / "config.json").read_text())
        self.assertEqual((config["vocab_size"], config["pad_token_id"], config["eos_token_id"]),
                         (320, 0, 2))
        trained = json.loads(self.ok(
            "train", "lm", "-m", start, "--train", self.part(), "-o", out, "--steps", "12",
            "--tokens", "64", "--lr", "5e-3", "--progress", "none", "--json"))
        checked = json.loads(self.ok("eval", "-m", out, self.part(), "--held-out", "0.1",
                                     "--tokens", "64", "--json"))
        self.assertAlmostEqual(trained["bits_per_byte"], checked["bits_per_byte"], places=6)
        self.assertEqual(checked["bytes"], 4000)
        self.assertLess(checked["predicted"], 2500)
        self.assertLess(checked["bits_per_byte"], 5.0)
        written = json.loads(self.ok("generate", "-m", out, "-p", "She had", "--tokens", "20",
                                     "--json"))
        self.assertLessEqual(written["tokens"], 20)
        self.assertIsInstance(written["text"], str)
        streamed = self.ok("generate", "-m", out, "-p", "She had", "--tokens", "20")
        self.assertEqual(streamed, "She had" + written["text"] + "\n")

    def test_packed_documents(self):
        start = self.dir / "on-pieces"
        self.ok("init", "--preset", "tiny", "--tokenizer", SPIECE, "-o", start)
        result = run("train", "lm", "-m", start, "--train", self.part(), "-o", self.dir / "run",
                     "--documents", "blank-line", "--packed", "--steps", "3", "--tokens", "128",
                     "--progress", "plain", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("packed: ", result.stderr)
        self.assertIn("% is padding", result.stderr)
        self.fails(2, "train", "lm", "-m", start, "--train",
                   self.part(), "-o", self.dir / "other", "--packed", says=["say where a document ends"])

    def test_what_cannot_be_is_one_line(self):
        text, out = self.part(3000), self.dir / "out"
        self.fails(2, "tokenize", "train", text, "--vocab-size", "320",
                   "-o", out, says=["320 pieces are too few"])
        self.fails(2, "tokenize", "train", text,
                   "--vocab-size", "30000", "-o", out, says=["the text is too small for 30000 pieces"])
        self.fails(2, "tokenize", "a text", says=["--model is required"])
        self.assertFalse(out.exists())
        out.mkdir()
        (out / "notes").write_text("mine")
        self.fails(2, "tokenize", "train", text, "--vocab-size", "400", "-o", out, says=["--overwrite"])
        self.fails(2, "tokenize", "train", text, "--vocab-size",
                   "400", "-o", out, "--overwrite", says=["which is no part of a tokenizer"])
        damaged = self.dir / "damaged"
        damaged.mkdir()
        (damaged / "spiece.model").write_bytes((SPIECE / "spiece.model").read_bytes()[:4000])
        self.fails(3, "tokenize", "-m", damaged, "a", says=["spiece.model: "])
        start = self.start
        self.fails(3, "train", "lm", "-m", start,
                   "--train", text, "--tokenizer", SPIECE, "-o", self.dir / "run", says=["it has 700 ids, the model's word table 258"])

    def test_pieces_against_bytes(self):
        done = subprocess.run(
            [sys.executable, ROOT / "tools" / "pieces_against_bytes.py", support.PROGRAM,
             self.part(), "--steps", "3", "--tokens", "64", "--batch", "2", "-o",
             self.dir / "both", "--json"], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual([m["name"] for m in document["models"]], ["pieces", "bytes"])
        for model in document["models"]:
            self.assertEqual(model["steps"], 3)
            self.assertGreater(model["bits_per_byte"], 1.0)
            self.assertLess(model["bits_per_byte"], 9.0)


class Data(Case):
    def test_stats(self):
        file = self.dir / "t.jsonl"
        rows = [{"text": "one"}, {"text": "two words"}, {"text": "one"}, {"no": 1}]
        file.write_text("\n".join(json.dumps(r) for r in rows) + "\n")
        document = json.loads(self.ok("data", "stats", file, "-m", "bytes", "--lengths", "4,20",
                                      "--json"))
        self.assertEqual(document["documents"], 3)
        self.assertEqual(document["duplicates"], 1)
        self.assertEqual(document["unreadable_rows"], 1)
        self.assertEqual(document["token_lengths"]["total"], 15)
        self.assertEqual([r["length"] for r in document["rows"]], [4, 20])
        self.assertEqual(document["rows"][0]["cut_documents"], 1)
        self.assertEqual(document["rows"][0]["cut_tokens"], 5)
        shown = self.ok("data", "stats", file)
        self.assertIn("3 documents in 1 file", shown)
        self.assertIn("t.jsonl:4", shown)
        self.assertRegex(shown, r"2-3 +2 +66\.67 +#+")

    def test_a_novel_by_paragraphs(self):
        paragraphs = ["-m", SPIECE, "--documents", "blank-line"]
        document = json.loads(self.ok("data", "stats", NOVEL, *paragraphs, "--json"))
        # Unless told otherwise documents are those of a training.
        whole = json.loads(self.ok("data", "stats", NOVEL, "--json"))
        self.assertEqual(whole["documents"], 1)
        for counted in (document, whole):
            self.assertEqual(counted["bytes"] + counted["bytes_between_documents"],
                             NOVEL.stat().st_size)
            self.assertEqual(counted["bytes"], counted["byte_lengths"]["total"])
        self.assertGreater(document["documents"], 800)
        self.assertEqual(document["invalid_utf8_documents"], 0)
        self.assertEqual(document["unknown_tokens"], 0)
        bins = document["token_lengths"]["bins"]
        self.assertEqual(sum(b["documents"] for b in bins), document["documents"])
        self.assertEqual(document, json.loads(
            self.ok("data", "stats", NOVEL, *paragraphs, "--json", "-t", "1")))

    def test_labels(self):
        file = self.dir / "t.csv"
        file.write_text("text,mood\n" + "".join(f"text {i},{'glad' if i % 3 else 'sad'}\n"
                                                for i in range(12)) + "last,\n")
        shown = self.ok("data", "stats", file)
        self.assertIn("13 documents in 1 file, 78 bytes, 78 characters", shown)  # no separators
        self.assertNotIn("column", shown)  # no row has "label"
        shown = self.ok("data", "stats", file, "--label-column", "mood")
        self.assertIn('column "mood": 2 classes, 12 documents', shown)
        self.assertIn("without a label: 1 document\n", shown)
        self.assertRegex(shown, r" +glad +8 +66\.67\n +sad +4 +33\.33\n")
        labels = json.loads(self.ok("data", "stats", file, "--label-column", "mood", "--json"))["labels"]
        self.assertEqual((labels["field"], labels["documents"], labels["documents_without"]),
                         ("mood", 12, 1))
        self.assertEqual([(c["label"], c["documents"]) for c in labels["counts"]],
                         [("glad", 8), ("sad", 4)])
        self.assertAlmostEqual(labels["counts"][0]["share"], 2 / 3)
        self.fails(3, "data", "stats", file, "--label-column", "moods", says=["moods"])
        file.write_text("text,label\n" + "".join(f"text,name {i:02}\n" for i in range(25)))
        shown = self.ok("data", "stats", file)
        self.assertIn('column "label": 25 classes', shown)
        self.assertIn("name 19", shown)
        self.assertNotIn("name 20", shown)
        self.assertRegex(shown, r"5 others +5 +20\.00")
        labels = json.loads(self.ok("data", "stats", file, "--json"))["labels"]
        self.assertEqual(len(labels["counts"]), 25)

    def test_errors(self):
        self.fails(2, "data", "stats", NOVEL, "--documents", "page", says=["documents: 'page' is unknown"])
        for words, says in ((["--problem", "regression"], "problem: has no effect on --task documents, only on classify"),
                            (["--task", "classify", "--columns", "a,b"], "columns: has no effect on --task classify, "
                             "only on embed, rerank"),
                            (["--task", "embed", "--scored-columns", "a,b,c", "--list-columns", "a,b"], "list-columns"),
                            (["--task", "qa", "--documents", "line"], "documents: has no effect on --task qa"),
                            (["--task", "sort", "--columns", "a,b"], "task: 'sort' is unknown")):
            self.fails(2, "data", "stats", NOVEL, *words, says=[says])
        self.fails(4, "data", "stats", self.dir / "none.txt", says=["none.txt"])
        self.fails(2, "data", "stats", NOVEL, "--lengths", "0", says=["lengths: 0 is below 1"])


if __name__ == "__main__":
    main()
