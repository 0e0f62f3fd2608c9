#!/usr/bin/env python3
"""Longformers that learn, as users of the program meet them.

usage: training_test.py PROGRAM [unittest options]
"""
import csv
import json
import math
import random
import re
import signal
import subprocess
import time
from html.parser import HTMLParser

import support
from support import SMALL_RUN, Case, main, run

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
        interval = re.search(r"95 % between ([\d.]+) and ([\d.]+)", table).groups()
        self.assertEqual([f"{x:.4f}" for x in report["accuracy_interval"]], list(interval))
        self.assertEqual((report["held_out_texts"], report["too_few_held_out"]), (60, False))
        self.predictions(judge, value)
        self.explanations(judge)
        self.assertTrue(self.ok("plot", judge).strip())
        self.assertTrue(self.ok("plot", judge, "--metric", "accuracy").strip())
        # The best checkpoint is a model by itself.
        best = json.loads((judge / "best.json").read_text())["step"]
        self.ok("eval", "-m", judge / f"checkpoint-{best}", self.dir / "test.csv")

    def predictions(self, judge, value):
        """The file of predictions says row by row what the report sums up."""
        lines, table = self.dir / "judged.jsonl", self.dir / "judged.csv"
        text = self.ok("eval", "-m", judge, self.dir / "test.csv", "--predictions", lines)
        self.ok("eval", "-m", judge, self.dir / "test.csv", "--predictions", table)
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        with open(self.dir / "test.csv", newline="") as file:
            test = list(csv.DictReader(file))
        self.assertEqual([row["gold"] for row in rows], [row["label"] for row in test])
        self.assertEqual([row["text"] for row in rows], [row["text"][:300] for row in test])
        self.assertEqual([row["row"] for row in rows], list(range(1, 61)))
        self.assertTrue(rows[0]["input"].endswith("test.csv:2"), rows[0])
        self.assertEqual(sum(row["right"] for row in rows) / 60, value["accuracy"])
        self.measures(rows, value)
        for row in rows:
            scores = {x["label"]: x["score"] for x in row["scores"]}
            self.assertAlmostEqual(sum(scores.values()), 1.0, places=6)
            self.assertEqual(max(scores, key=scores.get), row["predicted"])
        # The confusion matrix counts the same rows.
        names = [c["name"] for c in value["classes"]]
        for g, line in zip(names, value["confusion"]):
            self.assertEqual(line, [sum(r["gold"] == g and r["predicted"] == p for r in rows)
                                    for p in names])
        self.assertEqual(sum(p["texts"] for p in value["confused"]),
                         sum(not row["right"] for row in rows))
        (head,) = [x for x in text.splitlines() if x.split() == "has b has, a neither".split()]
        self.assertLessEqual(len(head), 100)
        for g, line in zip(names, value["confusion"]):
            self.assertIn([*g.split(), *map(str, line)], [x.split() for x in text.splitlines()])
        with open(table, newline="") as file:
            again = list(csv.DictReader(file))
        self.assertEqual([row["predicted"] for row in again], [row["predicted"] for row in rows])
        self.assertEqual([row["text"] for row in again], [row["text"] for row in rows])
        self.assertEqual(float(again[7]["score has, a"]), rows[7]["scores"][1]["score"])
        self.ok("eval", "-m", judge, self.dir / "test.csv", "--predictions", self.dir / "judged.tsv")
        with open(self.dir / "judged.tsv", newline="") as file:
            self.assertEqual(list(csv.DictReader(file, delimiter="\t")), again)
        # What must not be written over stays.
        before = (self.dir / "test.csv").read_bytes()
        for name, says in ((self.dir / "test.csv", "one of the files that are read"),
                           (self.dir / "judged.txt", ".csv, .tsv or .jsonl"),
                           (judge / "metrics.jsonl", "the model's folder")):
            self.fails(2, "eval", "-m", judge, self.dir / "test.csv", "--predictions", name,
                       says=[says])
        self.assertEqual((self.dir / "test.csv").read_bytes(), before)
        self.fails(2, "eval", "-m", self.start, self.letters, "--predictions", lines,
                   says=["--predictions", "something of each text"])
        self.fails(4, "eval", "-m", judge, self.dir / "test.csv", "--predictions",
                   self.dir / "none" / "x.csv", says=["none"])

    def explanations(self, judge):
        """The sentence that holds the letter is named, in text, JSON and on the page."""
        text = "c d e f g\n\nh i j c d\n\nc a d\n\ne f <g> h"
        page = self.dir / "why.html"
        shown = self.ok("classify", "-m", judge, "--text", text, "--explain=2", "--html", page)
        first, best, second = shown.splitlines()
        self.assertIn("has, a 0.", first)
        self.assertRegex(best, r"^  has, a \+0\.\d{4}\tcharacters 22-29\tc a d$")
        self.assertRegex(second, r"^  has, a [+-]0\.\d{4}\tcharacters ")
        report = json.loads(self.ok("classify", "-m", judge, "--text", text, "--explain", "--json"))
        result = report["results"][0]
        sentences = result["sentences"]
        self.assertEqual("".join(x["text"] for x in sentences), text)
        changes = [x["changes"][0]["change"] for x in sentences]
        self.assertEqual([x["changes"][0]["label"] for x in sentences], ["has, a"] * 4)
        self.assertEqual(max(range(4), key=changes.__getitem__), 2)
        # Each change is what classify says of the text with and without the sentence.
        def score(of):
            labels = json.loads(self.ok("classify", "-m", judge, "--text", of, "--json"))
            return {x["label"]: x["score"] for x in labels["results"][0]["labels"]}["has, a"]
        for sentence, change in zip(sentences, changes):
            place = sentence["chars"]
            self.assertEqual(text[place["begin"]:place["end"]], sentence["text"])
            rest = text[:place["begin"]] + text[place["end"]:]
            self.assertAlmostEqual(change, score(text) - score(rest), places=4)
        for threads in ("1", "3"):
            self.assertEqual(report["results"], json.loads(self.ok(
                "classify", "-m", judge, "--text", text, "--explain", "--json", "-t", threads))["results"])
        html = page.read_text()
        self.assertIn("prefers-color-scheme: dark", html)
        self.assertIn("e f &lt;g&gt; h", html)
        self.assertNotIn("<g>", html)
        for word in ("<script", "http://", "https://", "src=", "url("):
            self.assertNotIn(word, html)
        spans = re.findall(r'<span class="(\w+)[^"]*" style="--s:([\d.]+)" title="([+-][\d.]+)">([^<]*)',
                           html)
        self.assertEqual([x[3] for x in spans][2], "c a d\n\n")
        self.assertEqual(spans[2][:2], ("for", "1.000"))
        html5 = HTMLParser()
        html5.feed(html)
        one = self.ok("classify", "-m", judge, "--text", "c a d", "--explain")
        self.assertIn("nothing can be left out", one)
        (self.dir / "in.html").write_text(text)
        for name, says in ((self.dir / "why.txt", ".html"),
                           (self.dir / "in.html", "one of the files that are read")):
            self.fails(2, "classify", "-m", judge, self.dir / "in.html", "--html", name, says=[says])
        self.assertEqual((self.dir / "in.html").read_text(), text)

    def measures(self, rows, value):
        """The report's means are those of the predictions, by their definitions."""
        names = [label["label"] for label in rows[0]["scores"]]
        true = [sum(row["gold"] == name for row in rows) for name in names]
        said = [sum(row["predicted"] == name for row in rows) for name in names]
        areas, f1 = [], []
        for k, name in enumerate(names):
            has = [row["scores"][k]["score"] for row in rows if row["gold"] == name]
            rest = [row["scores"][k]["score"] for row in rows if row["gold"] != name]
            areas.append(sum((a > b) + 0.5 * (a == b) for a in has for b in rest) / len(has) / len(rest))
            hits = sum(row["gold"] == row["predicted"] == name for row in rows)
            f1.append(2 * hits / (true[k] + said[k]))
        self.assertAlmostEqual(value["auc"], sum(areas) / len(areas), places=12)
        self.assertAlmostEqual(value["macro_f1"], sum(f1) / len(f1), places=12)
        self.assertAlmostEqual(value["weighted_f1"], sum(f * t for f, t in zip(f1, true)) / 60, places=12)
        self.assertEqual(value["micro_f1"], value["accuracy"])
        self.assertTrue(0 < value["average_precision"] <= 1)
        shared = sum(t * s for t, s in zip(true, said)) / 3600
        spread = (1 - sum(t * t for t in true) / 3600) * (1 - sum(s * s for s in said) / 3600)
        self.assertAlmostEqual(value["mcc"], (value["accuracy"] - shared) / spread ** 0.5, places=12)

    def test_the_last_line_says_how_sure_the_accuracy_is(self):
        said = self.classify(self.dir / "many", "--epochs", "1").stdout
        self.assertRegex(said, r"held out: loss [\d.]+, accuracy [\d.]+ \(95 % between [\d.]+ and "
                         r"[\d.]+\), auc [\d.]+, macro_f1 [\d.]+, mcc -?[\d.]+, weighted_f1 [\d.]+ "
                         r"after \d+ steps, 0:\d\d\n")
        self.table("test.csv", 2, 3)
        few = self.dir / "few"
        said = self.classify(few, "--epochs", "1").stdout
        self.assertIn("3 held-out texts: too few to judge a model by; --eval FILE and --held-out", said)
        self.assertRegex(said, r"\nupdates: [\d.]+ % computing, [\d.]+ % data, [\d.]+ % log, [\d.]+ % saves; evaluations 0:\d\d\n")
        said = self.classify(few, "--epochs", "1", "--resume").stdout
        self.assertRegex(said, r" steps, 0:\d\d in all, 0:\d\d since it was resumed\n")
        report = json.loads(self.classify(few, "--epochs", "1", "--resume", "--json").stdout)
        self.assertTrue(report["too_few_held_out"])
        low, high = report["accuracy_interval"]
        self.assertTrue(0 <= low <= report["accuracy"] <= high <= 1)
        self.assertGreater(high - low, 0.5)
        self.assertGreater(report["total_seconds"], report["seconds"])
        self.assertLessEqual(sum(report["times"].values()), report["seconds"])

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
        low, high = report["exact_match_interval"]  # of sets; labels of one text hang together
        self.assertTrue(low <= report["exact_match"] <= high)
        self.assertNotIn("accuracy_interval", report)
        config = json.loads((self.dir / "s" / "config.json").read_text())
        self.assertEqual(config["problem_type"], "multi_label_classification")
        judged = self.dir / "judged.csv"
        report = self.ok("eval", "-m", self.dir / "s", sets, "--text-column", "one",
                         "--text-pair-column", "two", "--predictions", judged)
        self.assertIn("whole sets", report)
        self.assertIn("missed", report)
        with open(judged, newline="") as a, open(sets) as b:
            for row, line in zip(csv.DictReader(a), b, strict=True):
                self.assertEqual(json.loads(row["gold"]), json.loads(line)["label"])
                self.assertEqual(json.loads(row["predicted"]),
                                 [x for x in "ab" if float(row["score " + x]) > 0.5])
        report = json.loads(self.ok(
            "train", "classify", "-m", self.model, "--train", numbers, "-o", self.dir / "n", *SHORT,
            "--epochs", "1", "--problem", "regression", "--json"))
        self.assertEqual(report["mse"], report["loss"])
        self.assertEqual([name for name in report if "interval" in name], [])
        judged = self.dir / "judged.jsonl"
        self.assertIn("correlation", self.ok("eval", "-m", self.dir / "n", numbers, "--predictions",
                                             judged))
        rows = [json.loads(line) for line in judged.read_text().splitlines()]
        gold = [json.loads(line)["label"] for line in numbers.read_text().splitlines()]
        self.assertEqual([row["gold"] for row in rows], gold)
        self.assertAlmostEqual(sum((r["gold"] - r["predicted"]) ** 2 for r in rows) / 60,
                               report["mse"], delta=0.5)

    def rows(self, name, header, *rows):
        path = self.dir / name
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    def short(self, out, table, *more, code=0, **options):
        """A run of a few updates that is measured on the rows that it learns."""
        result = run("train", "classify", "-m", self.model, "--train", table, "-o", self.dir / out,
                     "--lr", "3e-3", "--progress", "none", *more, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def test_pairs_are_measured_as_they_are_learned(self):
        rows = [(x, y, "yes" if x == y else "no") for x in "abc" for y in "abc"]
        usual = self.rows("usual.csv", ["text", "text_pair", "label"], *rows)
        named = self.rows("named.csv", ["body", "other text", "kind"], *rows)
        steps = ["--eval", usual, "--steps", "3"]
        result = self.short("pairs", usual, *steps)
        self.assertIn('pairs: "text_pair" is the second text of 9 of 9 rows', result.stderr)
        self.assertIn("longspan eval -m " + str(self.dir / "pairs") + " TEST.csv\n", result.stdout)

        def loss(table, *more):
            return json.loads(self.ok("eval", "-m", self.dir / "pairs", table, "--json", *more))["loss"]
        pairs = loss(usual)
        self.assertIn(f"loss {pairs:.4f}", result.stdout)
        columns = ["--text-column", "body", "--text-pair-column", "other text", "--label-column",
                   "kind"]
        self.assertEqual(loss(named, *columns), pairs)
        single = loss(usual, "--text-pair-column", "")
        self.assertNotEqual(single, pairs)
        self.assertEqual(loss(named, *columns[:2], *columns[4:]), single)
        # The last line of a run has the options that its columns need.
        result = self.short("columns", named, "--eval", named, "--steps", "3", *columns)
        self.assertNotIn("pairs:", result.stderr)
        self.assertIn("TEST.csv --text-column body --text-pair-column 'other text' --label-column "
                      "kind\n", result.stdout)
        self.assertEqual((self.dir / "columns" / "model.safetensors").read_bytes(),
                         (self.dir / "pairs" / "model.safetensors").read_bytes())
        # That no second text is read, too, and the file of the run's options says it.
        result = self.short("single", usual, *steps, "--text-pair-column", "")
        self.assertIn("TEST.csv --text-pair-column ''\n", result.stdout)
        self.short("again", usual, "--config", self.dir / "single" / "run.toml")
        self.assertEqual((self.dir / "again" / "model.safetensors").read_bytes(),
                         (self.dir / "single" / "model.safetensors").read_bytes())

    def test_long_texts_are_measured_as_classify_reads_them(self):
        windows = ["--tokens", "12", "--stride", "2"]
        judge = self.dir / "judge"
        result = self.classify(judge, "--steps", "2", "--overflow", "window", *windows)
        self.assertRegex(result.stderr, r"train: \d+ of 120 texts have more than 12 tokens and are "
                                        r"read in \d+ windows; the longest has 26")
        self.assertRegex(result.stderr, r"held out: \d+ of 60 texts have more than 12 tokens")
        self.assertIn("TEST.csv --overflow window --stride 2\n", result.stdout)
        refused = self.classify(self.dir / "no", "--steps", "2", *windows, code=2)
        self.assertIn("stride: it is what neighbouring windows share", refused.stderr)
        windows = ["--stride", "2"]  # the run knows how long its rows were
        asked = json.loads(self.ok("classify", "-m", judge, self.dir / "test.csv", "--json",
                                   *windows))["results"]
        evaluated = run("eval", "-m", judge, self.dir / "test.csv", "--json", "--predictions",
                        self.dir / "said.jsonl", *windows)
        self.assertRegex(evaluated.stderr, r"test.csv: \d+ of 60 texts have more than 12 tokens and "
                                           r"are read in \d+ windows")
        said = [json.loads(x) for x in (self.dir / "said.jsonl").read_text().splitlines()]
        for one, text in zip(said, asked, strict=True):
            best = text["labels"][0]
            self.assertEqual((one["input"], one["predicted"]), (text["input"], best["label"]))
            self.assertEqual({x["label"]: x["score"] for x in one["scores"]},
                             {x["label"]: x["score"] for x in text["labels"]})
        report = json.loads(evaluated.stdout)
        self.assertEqual(report["in_windows"], sum(text["windows"] > 1 for text in asked))
        self.assertEqual(report["windows"], sum(text["windows"] for text in asked))
        self.assertEqual((report["cut"], report["longest"], report["tokens"]), (0, 26, 12))
        # What was measured in the training is what is measured here, and said by its last lines.
        self.assertIn(f"loss {report['loss']:.4f}, accuracy", result.stdout)
        self.assertIn(f"{report['in_windows']} of them in windows",
                      self.ok("eval", "-m", judge, self.dir / "test.csv", *windows))
        self.fails(2, "eval", "-m", judge, self.dir / "test.csv", "--overflow", "fold",
                   says=["overflow is 'fold', need window, truncate or error"])

    def test_labels_without_a_row_are_named(self):
        rows = [(letter, "a") for letter in LETTERS[:6]] + [("j", "b")]
        lone = self.rows("lone.csv", ["text", "label"], *rows)
        more = ["--held-out", "0.3", "--steps", "3"]
        result = self.short("x", lone, *more, "--seed", "2", code=3)
        self.assertIn("lone.csv: what is left to train on has 1 of 2 labels", result.stderr)
        # A metric without a value is "-", and no patience ends for it.
        result = self.short("z", lone, *more, "--seed", "1", "--eval-every", "1", "--metric", "auc",
                            "--patience", "1")
        self.assertIn('no held-out row has the label "b"', result.stderr)
        self.assertIn("auc has no value for these held-out texts", result.stderr)
        self.assertIn("auc -, macro_f1", result.stdout)
        self.assertIn("after 3 steps", result.stdout)
        joined = self.rows("joined.csv", ["text", "label"], *[(x, y) for x in "cd" for y in
                                                              ("a", "a|b")])
        result = self.short("joined", joined, "--eval", joined, "--steps", "1")
        self.assertIn('joined.csv:3: the label "a|b" is read as one name', result.stderr)

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
        bad(3, train="bad.csv", says=["bad.csv:3", "never closed", "`longspan data stats --task classify`"])
        self.assertIn("bad.csv:3", self.ok("data", "stats", self.dir / "bad.csv", "--task", "classify"))
        (self.dir / "twins.csv").write_text('text,label\na b,x\nc d,y\na c,X\nb d,"y "\n')
        bad(3, train="twins.csv", says=['twins.csv:4: label "X"', 'so do "y " of', "write them alike"])
        told = self.ok("data", "stats", self.dir / "twins.csv", "--task", "classify")
        self.assertIn('twins.csv:4: label "X" differs from "x"', told)
        self.assertIn('\n"y "  ', told)
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


class JsonLines(Case):
    def test_every_line_of_a_training_is_an_object(self):
        folder = self.dir / "texts"
        folder.mkdir()
        (folder / "a.txt").write_bytes(self.text.read_bytes())
        (folder / "empty.txt").write_bytes(b"")
        words = ["train", "lm", "-m", self.start, "--train", folder, *SMALL_RUN, "-o"]
        plain = run(*words, self.dir / "plain")
        self.assertRegex(plain.stderr, r"(?m)^longspan: \S*empty.txt: empty, passed over$")
        result = run(*words, self.dir / "json", "--json", "--progress", "plain")
        self.assertEqual(result.returncode, 0, result.stderr)
        json.loads(result.stdout)
        lines = [json.loads(line) for line in result.stderr.splitlines()]
        self.assertEqual({key for line in lines for key in line}, {"note", "progress"})
        progress = [line["progress"] for line in lines if "progress" in line]
        self.assertLessEqual({p["unit"] for p in progress}, {"step", "held out"})
        self.assertIn("loss", [p for p in progress if p["unit"] == "step"][-1])


class LongEvidence(Case):
    def test_what_is_cut_away_is_not_known(self):
        """On short documents, which half of the updates learn; the command's own are 64 times as long."""
        out = self.dir / "evidence"
        report = json.loads(self.ok("long-evidence", "--tokens", "64", "--documents", "400",
                                    "--updates", "0.5", "-o", out, "--progress", "none", "--json"))
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
