#!/usr/bin/env python3
"""What decides an answer is heeded or refused: labels, ids, second texts, forms of files.

usage: answers_test.py PROGRAM [unittest options]
"""
import csv
import gzip
import json

from support import SENTENCES, Case, main, run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "the", "she", "went", "to", "sea", "a", "who"]


class Answers(Case):
    def classifier(self, name="judge", **fields):
        return self.word_model(name, "ForSequenceClassification", WORDS, **fields)

    def put(self, name, text):
        (self.dir / name).write_text(text)
        return self.dir / name

    def rows(self, path):
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.reader(file))

    def test_labels_of_one_name_keep_their_own_scores(self):
        model = self.classifier(id2label={"0": "x", "1": "x", "2": "y"})
        (result,) = json.loads(self.ok("classify", "-m", model, "--text", SENTENCES[0], "--json"))["results"]
        expected = {one.get("class", 2): one["score"] for one in result["labels"]}
        self.assertEqual(set(expected), {0, 1, 2})
        self.assertNotEqual(expected[0], expected[1])
        self.ok("classify", "-m", model, "--text", SENTENCES[0], "-o", self.dir / "a.csv")
        header, row = self.rows(self.dir / "a.csv")
        self.assertEqual(header[3:], ["score x", "score x", "score y"])
        self.assertEqual([float(cell) for cell in row[3:]], [expected[k] for k in range(3)])

    def test_an_empty_second_text_is_none(self):
        data = self.put("a.jsonl", "".join(json.dumps({"text": "she went", **more}) + "\n"
                                           for more in ({}, {"text_pair": ""}, {"text_pair": "to sea"})))
        for command in ("classify", "embed"):
            out = self.dir / f"{command}.jsonl"
            self.ok(command, "-m", self.dir / "judge" if (self.dir / "judge").exists() else self.classifier(), data,
                    "-o", out)
            one, empty, pair = (json.loads(line) for line in out.read_text().splitlines())
            self.assertEqual(one["tokens"], empty["tokens"])
            self.assertEqual(one.get("labels", one.get("embedding")), empty.get("labels", empty.get("embedding")))
            self.assertGreater(pair["tokens"], one["tokens"])

    def test_numbers_come_back_as_they_were(self):
        model = self.classifier(problem_type="regression", id2label={"0": "LABEL_0"})
        gold = ["0.99", "-1.5", "3.0", "1e-05"]
        data = self.put("a.csv", "text,label\n" + "".join(f"she went,{value}\n" for value in gold))
        self.ok("eval", "-m", model, data, "--predictions", self.dir / "p.csv")
        self.assertEqual([row[3] for row in self.rows(self.dir / "p.csv")], ["gold", *gold])
        self.ok("eval", "-m", model, data, "--predictions", self.dir / "p.jsonl")
        self.assertEqual([json.loads(line)["gold"] for line in (self.dir / "p.jsonl").read_text().splitlines()],
                         [float(value) for value in gold])
        self.fails(3, "eval", "-m", model, self.put("b.csv", "text,label\na,1\na,1e300\n"), says=["b.csv:3", "1e+300"])

    def test_ids_of_a_table_are_kept_if_the_first_is_empty(self):
        model = self.classifier()
        data = self.put("a.csv", "id,text\n,she went\n7,to sea\n")
        for command, name in (("classify", "x.csv"), ("embed", "v.csv")):
            self.ok(command, "-m", model, data, "-o", self.dir / name)
            rows = self.rows(self.dir / name)
            self.assertEqual([row[1] for row in rows], ["id", "", "7"])
        self.ok("classify", "-m", model, data, "-o", self.dir / "parts.csv", "--resume")
        self.assertEqual((self.dir / "parts.csv").read_bytes(), (self.dir / "x.csv").read_bytes())

    def test_where_answers_may_be_written(self):
        model, data = self.classifier(), self.put("a.csv", "text,label\nshe went,LABEL_0\n")
        for name in ("x.xlsx", "x.parquet"):
            self.fails(2, "classify", "-m", model, data, "-o", self.dir / name,
                       says=[name, ".txt, .json, .jsonl, .csv, .tsv", "--output-format"])
        for name in ("x.log", "x", "x.txt"):
            self.ok("classify", "-m", model, data, "-o", self.dir / name)
        self.ok("classify", "-m", model, data, "-o", self.dir / "x.xlsx", "--output-format", "csv")
        # The model's folder is the model's alone, whether the file is there already or not.
        for words in (["eval", "--predictions", model / "p.csv"], ["classify", "-o", model / "p.csv"],
                      ["classify", "--html", model / "p.html"]):
            self.fails(2, *words, "-m", model, data, says=["is in the model's folder"])
            self.assertFalse((model / words[-1]).exists())
        # Finished parts of an earlier run are not left behind.
        parts = self.dir / ".y.csv.longspan-parts"
        parts.mkdir()
        (parts / "part-000000000").write_bytes(b"x")
        for command in ("classify", "embed"):
            self.fails(2, command, "-m", model, data, "-o", self.dir / "y.csv", says=["1 finished parts", "--resume"])
        self.assertFalse((self.dir / "y.csv").exists())

    def test_options_about_texts_that_do_nothing_are_refused(self):
        model, data = self.classifier(), self.put("a.csv", "text\nshe went\n")
        for words, says in ((["--json-lines", "--format", "csv"], "json-lines: it is --format jsonl"),
                            (["--lines", "--format", "csv"], "lines: it is for prose"),
                            (["--lines", "--json-lines"], "--json-lines"), (["--lines"], "a.csv has rows of its own")):
            self.fails(2, "classify", "-m", model, data, *words, says=[says])
        packed = self.dir / "a.csv.gz"
        packed.write_bytes(gzip.compress(data.read_bytes()))
        for words in (["classify", "-m", model, packed], ["tokenize", "-m", model, "-f", packed],
                      ["generate", "-m", self.start, "-f", packed]):
            self.fails(2, *words, "--lines", says=["a.csv.gz has rows of its own"])
        for command in ("qa", "multiple-choice", "rerank"):
            query = ["who"] if command == "rerank" else []
            self.fails(2, command, *query, "-m", model, data, "--text-pair-column", "b", says=["--text-pair-column"])
        asked = self.word_model("answer", "ForQuestionAnswering", WORDS)
        both = self.put("q.jsonl", '{"context": "she went"}\n{"context": "to sea", "question": "who went"}\n')
        result = run("qa", "-m", asked, both, "--question", "who")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr.count("has a question of its own"), 1, result.stderr)
        self.assertIn("q.jsonl:2", result.stderr)

    def test_no_tokens_are_all_positions(self):
        model = self.classifier()
        words = ["classify", "-m", model, "--text", " ".join(SENTENCES), "--json"]
        self.assertEqual(self.ok(*words, "--tokens", 0), self.ok(*words))
        self.fails(2, *words, "--tokens", -1, says=["from 0"])

    def test_rows_that_are_too_long_may_be_left_out(self):
        model, out = self.classifier(), self.dir / "x.csv"
        data = self.put("a.csv", f"text\nshe went\n{'a ' * 600}\nto sea\n")
        words = ["classify", "-m", model, data, "--max-line-bytes", 1000]
        self.fails(5, *words, "-o", out, says=["a.csv:3", "1000 bytes"])
        result = run(*words, "-o", out, "--skip-bad")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("1 text cannot be used and is left out", result.stderr)
        self.assertEqual([row[0][-2:] for row in self.rows(out)[1:]], [":2", ":4"])
        labelled = self.put("b.csv", f"text,label\nshe went,LABEL_0\n{'a ' * 600},LABEL_1\n   \nto sea,LABEL_1\n")
        words = ["eval", "-m", model, labelled, "--max-line-bytes", 1000]
        self.fails(5, *words, says=["b.csv:3"])
        self.assertEqual(json.loads(self.ok(*words, "--skip-bad", "--json"))["rows"], 2)


if __name__ == "__main__":
    main()
