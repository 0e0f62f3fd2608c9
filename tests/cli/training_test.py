#!/usr/bin/env python3
"""Longformers that learn, as users of the program meet them.

usage: training_test.py PROGRAM [unittest options]
"""
import csv
import json
import math
import random
import signal
import subprocess
import time

import support
from support import Case, main, run

LETTERS = "abcdefghij"
SHORT = ["--batch", "4", "--accumulate", "2", "--lr", "3e-3", "--log-every", "1", "--progress",
         "none"]
CONFIG = {
    "model_type": "longformer", "architectures": ["LongformerForMaskedLM"], "hidden_size": 32,
    "num_hidden_layers": 2, "attention_window": [4, 8], "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 65, "type_vocab_size": 2,
    "pad_token_id": 0, "vocab_size": 16, "layer_norm_eps": 1e-5, "initializer_range": 0.1}


class Training(Case):
    """A tiny Longformer over ten letters, a text and tables."""

    def setUp(self):
        super().setUp()
        words = self.dir / "words"
        words.mkdir()
        (words / "vocab.txt").write_text(
            "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]) + "\n")
        (words / "config.json").write_text(json.dumps(CONFIG))
        self.model = self.dir / "long"
        self.ok("init", "--config", words / "config.json", "--tokenizer", words, "-o", self.model)
        self.letters = self.dir / "letters.txt"
        self.letters.write_text(" ".join(LETTERS[i % 10] for i in range(3000)) + "\n")
        self.table("train.csv", 1, 120)
        self.table("test.csv", 2, 60)

    def table(self, name, seed, rows):
        """Texts whose label is whether they hold an a, a b or neither."""
        luck = random.Random(seed)
        with open(self.dir / name, "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["text", "label"])
            for _ in range(rows):
                kind = luck.randrange(3)
                text = [luck.choice(LETTERS[2:]) for _ in range(luck.randrange(3, 25))]
                if kind < 2:
                    text[luck.randrange(len(text))] = LETTERS[kind]
                out.writerow([" ".join(text) + "\n", ["has, a", "has b", "neither"][kind]])

    def classify(self, out, *more, code=0, **options):
        result = run("train", "classify", "-m", self.model, "--train", self.dir / "train.csv",
                     "--eval", self.dir / "test.csv", "-o", out, *SHORT, *more, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def test_packed_documents(self):
        """What training measures is what eval measures, on any number of threads."""
        packed = ["--documents", "blank-line", "--packed"]
        self.letters.write_text("\n\n".join(" ".join(LETTERS[(i + n) % 10] for i in range(n % 40))
                                            for n in range(3, 120)) + "\n")
        out, again = self.dir / "packed", self.dir / "packed-again"
        report = json.loads(self.mlm(out, "--steps", "6", "--json", *packed).stdout)
        self.mlm(again, "--steps", "6", "--threads", "1", *packed)
        self.assertEqual((out / "model.safetensors").read_bytes(),
                         (again / "model.safetensors").read_bytes())
        value = json.loads(self.ok("eval", "-m", out, self.letters, "--tokens", "32", "--json",
                                   "--held-out", "0.1", *packed))
        self.assertEqual(value["loss"], report["loss"])
        self.fails(2, "train", "mlm", "-m", self.model, "--train", self.letters, "-o",
                   self.dir / "none", "--documents", "joined", "--packed", says=["'joined' is unknown"])

    def mlm(self, out, *more, code=0):
        result = run("train", "mlm", "-m", self.model, "--train", self.letters, "-o", out,
                     "--tokens", "32", *SHORT, *more)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def metrics(self, out):
        """Every line without what a clock says."""
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items()
                 if k not in ("seconds", "tokens_per_s", "rss_bytes")} for line in lines]

    def test_adapt_then_classify(self):
        adapted = self.dir / "adapted"
        report = json.loads(self.mlm(adapted, "--steps", "250", "--json").stdout)
        self.assertGreater(report["accuracy"], 0.8)
        self.assertAlmostEqual(report["perplexity"], math.exp(report["loss"]), places=9)
        value = json.loads(self.ok("eval", "-m", adapted, self.letters, "--held-out", "0.1",
                                   "--tokens", "32", "--json"))
        self.assertAlmostEqual(value["loss"], report["loss"], places=9)
        self.assertIn("% guessed", self.ok("eval", "-m", adapted, self.letters, "--tokens", "32"))

        judge = self.dir / "judge"
        self.model = adapted
        result = self.classify(judge, "--epochs", "14", "--json")
        report = json.loads(result.stdout)
        self.assertGreater(report["accuracy"], 0.9)
        self.assertIn("new: classifier.dense.bias", result.stderr)
        self.assertIn("left out: lm_head.bias", result.stderr)
        config = json.loads((judge / "config.json").read_text())
        self.assertEqual(config["id2label"], {"0": "has b", "1": "has, a", "2": "neither"})
        self.assertEqual(config["problem_type"], "single_label_classification")
        self.assertEqual((judge / "vocab.txt").read_bytes(),
                         (self.model / "vocab.txt").read_bytes())
        value = json.loads(self.ok("eval", "-m", judge, self.dir / "test.csv", "--json"))
        for name in ("loss", "accuracy", "macro_f1"):
            self.assertEqual(value[name], report[name])
        self.assertEqual(sum(c["support"] for c in value["classes"]), 60)
        table = self.ok("eval", "-m", judge, self.dir / "test.csv")
        self.assertIn("neither", table)
        self.assertIn("95 % between", table)
        self.assertTrue(self.ok("plot", judge).strip())
        self.assertTrue(self.ok("plot", judge, "--metric", "accuracy").strip())
        # The best checkpoint is a model by itself.
        best = json.loads((judge / "best.json").read_text())["step"]
        self.ok("eval", "-m", judge / f"checkpoint-{best}", self.dir / "test.csv")

    def test_thread_counts_give_the_same_models(self):
        for train, more in ((self.classify, ["--epochs", "1"]), (self.mlm, ["--steps", "5"])):
            weights = set()
            for threads in (1, 2, 3):
                out = self.dir / f"{train.__name__}{threads}"
                train(out, *more, "-t", threads)
                weights.add((out / "model.safetensors").read_bytes())
            self.assertEqual(len(weights), 1)

    def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(self):
        for task, data, more in (
                ("mlm", self.letters, ["--tokens", "32", "--steps", "200"]),
                ("classify", self.dir / "train.csv", ["--steps", "200"])):
            whole, out = self.dir / f"{task}-whole", self.dir / f"{task}-run"
            command = [support.PROGRAM, "train", task, "-m", self.model, "--train", data, *SHORT,
                       *more, "--save-every", "0", "--eval-every", "0", "--resume", "-o"]
            command = [str(word) for word in command]
            subprocess.run(command + [str(whole)], check=True, capture_output=True)
            process = subprocess.Popen(command + [str(out)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            log = out / "metrics.jsonl"
            while time.monotonic() < deadline and not (log.exists() and len(log.read_text()) > 500):
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=60), 143)
            self.assertTrue(list(out.glob("checkpoint-*/vocab.txt")))
            subprocess.run(command + [str(out)], check=True, capture_output=True)
            self.assertEqual(self.metrics(out), self.metrics(whole))
            self.assertEqual((out / "model.safetensors").read_bytes(),
                             (whole / "model.safetensors").read_bytes())

    def test_sets_numbers_and_pairs(self):
        luck = random.Random(4)
        sets, numbers = self.dir / "sets.jsonl", self.dir / "numbers.jsonl"
        with open(sets, "w") as a, open(numbers, "w") as b:
            for _ in range(60):
                text = [luck.choice(LETTERS) for _ in range(12)]
                labels = [letter for letter in "ab" if letter in text]
                a.write(json.dumps({"one": " ".join(text[:6]), "two": " ".join(text[6:]),
                                    "label": labels}) + "\n")
                b.write(json.dumps({"text": " ".join(text), "label": text.count("a") / 2}) + "\n")
        report = json.loads(self.ok(
            "train", "classify", "-m", self.model, "--train", sets, "-o", self.dir / "s", *SHORT,
            "--epochs", "1", "--text-column", "one", "--text-pair-column", "two", "--json"))
        self.assertIn("exact_match", report)
        config = json.loads((self.dir / "s" / "config.json").read_text())
        self.assertEqual(config["problem_type"], "multi_label_classification")
        self.assertIn("whole sets", self.ok("eval", "-m", self.dir / "s", sets, "--text-column",
                                            "one", "--text-pair-column", "two"))
        report = json.loads(self.ok(
            "train", "classify", "-m", self.model, "--train", numbers, "-o", self.dir / "n", *SHORT,
            "--epochs", "1", "--problem", "regression", "--json"))
        self.assertEqual(report["mse"], report["loss"])
        self.assertIn("correlation", self.ok("eval", "-m", self.dir / "n", numbers))

    def test_what_is_wrong_is_named(self):
        def bad(code, *more, says=(), train="train.csv"):
            self.fails(code, "train", "classify", "-m", self.model, "--train", self.dir / train,
                       "-o", self.dir / "x", "--progress", "none", *more, says=says)
        bad(5, "--tokens", "8", says=["--overflow truncate", "texts are too long"])
        bad(2, "--overflow", "cut", says=["truncate"])
        bad(3, "--label-column", "class", says=["no column", "text, label"])
        bad(2, "--global", "first", says=["first"])
        bad(2, "--problem", "many", says=["many", "regression"])
        (self.dir / "bad.csv").write_text("text,label\na b,x\n\"c\n")
        bad(3, train="bad.csv", says=["bad.csv:3", "never closed"])
        bad(4, train="none.csv", says=["none.csv"])
        self.fails(2, "train", "mlm", "-m", self.model, "--train", self.letters, "-o",
                   self.dir / "x", "--tokens", "99", says=["99", "64"])
        self.fails(3, "train", "mlm", "-m", self.start, "--train", self.letters, "-o",
                   self.dir / "x", says=["mask token"])
        self.assertFalse((self.dir / "x").exists())
        # A classifier judges labels that it has.
        self.classify(self.dir / "judge", "--epochs", "1")
        (self.dir / "other.csv").write_text("text,label\na b,has c\n")
        self.fails(3, "eval", "-m", self.dir / "judge", self.dir / "other.csv", says=["has c"])
        cut = self.ok("eval", "-m", self.dir / "judge", self.dir / "test.csv", "--tokens", "8",
                      "--overflow", "truncate")
        self.assertIn("of them cut", cut)


class LongEvidence(Case):
    def test_what_is_cut_away_is_not_known(self):
        """On short documents, which are learned in seconds; the command's own are 64 times as long."""
        out = self.dir / "evidence"
        report = json.loads(self.ok("long-evidence", "--tokens", "64", "--documents", "400", "-o",
                                    out, "--progress", "none", "--json"))
        self.assertTrue(report["holds"])
        first, last = report["scores"][0], report["scores"][-1]
        self.assertEqual((first["tokens"], last["tokens"]), (8, 64))
        self.assertAlmostEqual(first["accuracy"], 0.5, delta=0.1)  # four standard deviations
        self.assertEqual((first["both_facts"], last["both_facts"]), (0, 400))
        self.assertGreaterEqual(last["accuracy"], 0.95)
        again = json.loads(self.ok("eval", "-m", out / "model", out / "data" / "test.jsonl",
                                   "--tokens", "8", "--overflow", "truncate", "--json"))
        self.assertEqual((again["accuracy"], again["cut"]), (first["accuracy"], 400))
        self.assertGreater((out / "evidence.png").stat().st_size, 1000)
        (self.dir / "mine").mkdir()
        (self.dir / "mine" / "thesis.tex").write_text("mine")
        self.fails(2, "long-evidence", "-o", self.dir / "mine", says=["not empty"])


if __name__ == "__main__":
    main()
