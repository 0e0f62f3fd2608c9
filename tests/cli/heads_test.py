#!/usr/bin/env python3
"""Classes of words, answers and choices: trained, evaluated and asked from the program.

usage: heads_test.py PROGRAM [unittest options]
"""
import csv
import json
import subprocess
import sys

import support
from support import ROOT, Case, main

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anne", "went", "to", "bath", ".", "who", "where", "?",
         "he", "saw", "mary"]
RUN = ["--steps", 2, "--batch", 2, "--accumulate", 1, "--progress", "none", "--eval-every", 0, "--save-every", 0]
CONTEXT = "Anne went to Bath ."


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


class Heads(Case):
    def setUp(self):
        super().setUp()
        self.model = self.word_model("words", "Model", WORDS)

    def put(self, name, text):
        (self.dir / name).write_text(text)
        return self.dir / name

    def train(self, task, data, *more):
        out = self.dir / ("run-" + task)
        report = json.loads(self.ok("train", task, "-m", self.model, "--train", data, "--eval", data, "-o", out,
                                    "--json", *RUN, *more))
        return out, report

    def predictions(self, model, data, name, *more):
        """What eval says, and the lines that it writes."""
        path = self.dir / name
        report = json.loads(self.ok("eval", "-m", model, data, "--json", "--predictions", path, *more))
        with path.open(newline="") as file:
            found = list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(x) for x in file]
        return report, found

    def test_words_with_tags(self):
        data = self.put("a.conll", "Anne B-PER\nwent O\nto O\nBath B-LOC\n\nHe O\nsaw O\nMary B-PER\n")
        model, trained = self.train("token-classify", data)
        report, found = self.predictions(model, data, "said.jsonl")
        self.assertEqual(report["loss"], trained["loss"])
        self.assertEqual(report["f1"], trained["f1"])
        self.assertEqual((report["texts"], report["words"]), (2, 7))
        self.assertEqual([e["name"] for e in report["entities"]][:2], ["LOC", "PER"])
        self.assertEqual(found[0]["words"], ["Anne", "went", "to", "Bath"])
        self.assertEqual(found[1]["gold"], ["O", "O", "B-PER"])
        _, table = self.predictions(model, data, "said.csv")
        self.assertEqual([r["predicted"] for r in table], [t for f in found for t in f["predicted"]])
        self.assertIn("precision", self.ok("eval", "-m", model, data))
        spans = [{"start": 0, "end": 4, "label": "PER"}, {"start": 13, "end": 17, "label": "LOC"}]
        same, _ = self.predictions(model, self.put("b.jsonl", lines(
            {"text": "Anne went to Bath", "spans": spans}, {"tokens": ["He", "saw", "Mary"], "ner_tags": ["O", "O", "B-PER"]})),
            "again.jsonl")
        self.assertEqual(same, report)
        asked = json.loads(self.ok("token-classify", "-m", model, "--text", "Anne went to Bath", "--aggregate", "first", "--json"))
        self.assertIn("entities", asked["results"][0])
        self.fails(3, "eval", "-m", model, self.put("c.conll", "Anne B-ORG\n"), says=["c.conll:1", "B-ORG", "word 1"])
        self.fails(2, "eval", "-m", model, data, "--packed", says=["--packed"])

    def test_windows_of_questions_are_those_of_qa(self):
        """--stride 0 is not the default, and an evaluation's windows are those of the command."""
        model = self.word_model("answer", "ForQuestionAnswering", WORDS)
        row = {"question": "who ?", "context": " ".join([CONTEXT] * 10), "answers": [{"text": "Anne", "answer_start": 0}]}
        data = self.put("a.jsonl", lines(row))
        windows = {}
        for stride in ([], ["--stride", 0], ["--stride", 2]):
            measured = json.loads(self.ok("eval", "-m", model, data, "--json", *stride))["windows"]
            (asked,) = json.loads(self.ok("qa", "-m", model, data, "--json", *stride))["results"]
            self.assertEqual(measured, asked["windows"], stride)
            windows[str(stride)] = measured
        self.assertGreater(windows["[]"], windows["['--stride', 0]"])

    def test_the_next_command_can_be_typed(self):
        row = {"question": "who ?", "context": CONTEXT, "answers": [{"text": "Anne", "answer_start": 0}]}
        data, out = self.put("a.json", lines(row)), self.dir / "my run"
        said = self.ok("train", "qa", "-m", self.model, "--train", data, "--eval", data, "-o", out, "--format", "jsonl",
                       "--encoding", "latin-1", "--skip-bad", "--max-answer", 7, *RUN)
        self.assertIn(f"next: longspan plot '{out}'   longspan eval -m '{out}' TEST.json --format jsonl --encoding "
                      "latin-1 --skip-bad --max-answer 7\n", said)
        shown = said.split("   longspan eval ")[1].strip().replace("TEST.json", str(data))
        subprocess.run(f"'{support.PROGRAM}' eval {shown}", shell=True, check=True, capture_output=True)

    def test_options_without_effect_are_refused(self):
        masked = self.word_model("masked", "ForMaskedLM", WORDS)
        for model, option, value in ((self.start, "--overflow", "truncate"), (self.start, "--global", "first:1"),
                                     (self.start, "--mask-share", 0.5), (masked, "--overflow", "error"),
                                     (masked, "--stride", 4), (self.start, "--stride", 4), (masked, "--step", 4),
                                     (masked, "--label-names", "O"),
                                     (masked, "--columns", "a,b"), (masked, "--max-answer", 3)):
            self.fails(2, "eval", "-m", model, self.text, option, value, says=[f"eval: {option} is for", "not for a "])
        self.fails(2, "eval", "-m", self.start, self.text, "--stride", 4, says=["--step is how far a window advances"])
        self.fails(2, "eval", "-m", masked, self.text, "--task", "embed", "--held-out", 0.5,
                   says=["--held-out is for language models", "not for --task embed"])
        tags = self.put("a.conll", "Anne B-PER\nwent O\n")
        for words, says in ((["--momentum", 0.5], "--momentum is an option of sgd, and has no effect on adamw"),
                            (["--optimizer", "sgd", "--beta1", 0.5], "--beta1 is an option of adamw")):
            self.fails(2, "train", "token-classify", "-m", self.model, "--train", tags, "-o", self.dir / "no", *words,
                       says=[says])

    def test_questions_with_answers(self):
        rows = [{"id": "q1", "question": "who ?", "context": CONTEXT, "answers": [{"text": "Anne", "answer_start": 0}]},
                {"question": "where ?", "context": CONTEXT, "answers": {"text": ["Bath"], "answer_start": [13]}},
                {"question": "why ?", "context": CONTEXT, "answers": []}]
        data = self.put("a.jsonl", lines(*rows))
        model, trained = self.train("qa", data)
        self.assertEqual(trained["held_out_texts"], 3)
        report, found = self.predictions(model, data, "said.jsonl")
        self.assertEqual((report["questions"], report["answerable"]), (3, 2))
        self.assertEqual((report["loss"], report["exact_match"]), (trained["loss"], trained["exact_match"]))
        self.assertEqual([f["gold"] for f in found], [["Anne"], ["Bath"], []])
        self.assertEqual(found[0]["id"], "q1")
        # What is measured is what the command answers.
        asked = json.loads(self.ok("qa", "-m", model, data, "--may-be-none", "--json"))["results"]
        self.assertEqual([a["answers"][0]["answer"] for a in asked], [f["predicted"] for f in found])
        _, table = self.predictions(model, data, "said.csv")
        self.assertEqual([r["predicted"] for r in table], [f["predicted"] for f in found])
        self.assertIn("without one", self.ok("eval", "-m", model, data))
        squad = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [
            {"id": i, "question": r["question"], "answers": [{"text": t, "answer_start": CONTEXT.index(t)} for t in a]}
            for i, (r, a) in enumerate(zip(rows, (["Anne"], ["Bath"], [])))]}]}]}
        same, _ = self.predictions(model, self.put("dev.json", json.dumps(squad)), "again.jsonl")
        self.assertEqual(same, report)
        rows[0]["answers"][0]["answer_start"] = 1
        bad = self.put("b.jsonl", lines(*rows))
        self.fails(3, "eval", "-m", model, bad, says=["b.jsonl:1", "q1", "character 1"])
        self.assertEqual(json.loads(self.ok("eval", "-m", model, bad, "--skip-bad", "--json"))["questions"], 2)

    def test_questions_with_choices(self):
        data = self.put("a.jsonl", lines(
            {"context": CONTEXT, "question": "who ?", "choices": ["Anne", "Mary"], "label": 0},
            {"article": CONTEXT, "question": "where ?", "options": ["he", "Bath", "Mary"], "answer": "B"},
            {"sent1": "Anne", "sent2": "went", "ending0": "to Bath", "ending1": "saw", "label": 0, "id": 9}))
        model, trained = self.train("multiple-choice", data)
        report, found = self.predictions(model, data, "said.jsonl")
        self.assertEqual((report["questions"], report["choices"]), (3, 7))
        self.assertEqual((report["loss"], report["accuracy"]), (trained["loss"], trained["accuracy"]))
        self.assertEqual([f["gold"] for f in found], [0, 1, 0])
        self.assertEqual(found[2]["choices"][0]["choice"], "went to Bath")
        _, table = self.predictions(model, data, "said.csv")
        self.assertEqual([r["gold"] for r in table], ["Anne", "Bath", "went to Bath"])
        asked = json.loads(self.ok("multiple-choice", "-m", model, "--text", CONTEXT, "--question", "who ?", "--choice", "Anne",
                                   "--choice", "Mary", "--json"))
        self.assertEqual(asked["results"][0]["best"], found[0]["predicted"])
        self.assertIn("at random", self.ok("eval", "-m", model, data))
        self.fails(2, "train", "multiple-choice", "-m", self.model, "--train", data, "-o", self.dir / "x", "--overflow", "window",
                   says=["overflow"])

    def test_planted_facts_stand_far_apart_and_are_read(self):
        for task in ("token-classify", "qa", "multiple-choice"):
            folders = [self.dir / f"{task}-{i}" for i in range(2)]
            for folder in folders:
                subprocess.run([sys.executable, ROOT / "tools/planted_facts.py", task, "-o", folder, "--tokens", "2048",
                                "--train", "1", "--shortest", "512", "--test", "20"], check=True)
            for name in ("train.jsonl", "eval.jsonl", "test.jsonl"):
                self.assertEqual(*[(folder / name).read_text() for folder in folders])
            train, rows = ([json.loads(line) for line in (folders[0] / name).read_text().splitlines()]
                           for name in ("train.jsonl", "test.jsonl"))
            self.assertEqual((len(train), len(rows)), (1 + 2 + 4, 20))
            for row in rows:
                first, last = row["facts"]
                self.assertGreater(last - first, 1000)
                words = row["tokens"] if task == "token-classify" else row["context"].split()
                said = "likes" if task == "qa" else "has"
                places = [place for place in range(len(words)) if words[place:place + 2] == ["anna", said]]
                (place,) = places  # it is said once
                colour = words[place + 2]
                if task == "token-classify":
                    tagged = {tag for word, tag in zip(words, row["tags"]) if tag != "O"}
                    self.assertEqual((first, tagged), (place, {"B-" + colour.upper()}))
                    self.assertEqual([tag != "O" for tag in row["tags"]],
                                     [word == "anna" and i >= last for i, word in enumerate(words)])
                elif task == "qa":
                    (answer,) = row["answers"]
                    before = row["context"][:answer["answer_start"]].split()
                    self.assertEqual((first, len(before)), (place, last))
                    self.assertEqual(words[last:last + 2], answer["text"].split())
                    self.assertEqual((words[last], words.count("red") + words.count("blue")), (colour, 3))
                else:
                    self.assertEqual((last, row["label"]), (place, colour))
            subprocess.run([sys.executable, ROOT / "tools/planted_facts.py", task, "-o", self.dir / task, "--tokens", "128",
                            "--train", "2", "--shortest", "64", "--test", "5", "--decoys", "2"], check=True)
            start = self.dir / task / "start"
            model = self.dir / (task + "-model")
            self.ok("init", "--config", start / "config.json", "-o", model)
            (model / "vocab.txt").write_text((start / "vocab.txt").read_text())
            self.model = model
            trained, report = self.train(task, self.dir / task / "train.jsonl", "--overflow", "error", "--tokens", 128)
            report = json.loads(self.ok("eval", "-m", trained, self.dir / task / "test.jsonl", "--overflow", "error", "--json"))
            self.assertEqual(report["cut"], 0)


if __name__ == "__main__":
    main()
