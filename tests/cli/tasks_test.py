#!/usr/bin/env python3
"""Longformers asked about texts: fill-mask, classify, token-classify, qa, multiple-choice.

usage: tasks_test.py PROGRAM [unittest options]
"""
import csv
import json
import shutil

from support import SENTENCES, Case, main, run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "?", "the", "letter", "was",
         "written", "by", "anne", "##s", "who", "captain", "frederick", "to", "sea", "he", "she",
         "went", "saw", "a", "ship", "lady", "house", "very", "old"]
CLASSES = {"masked": "ForMaskedLM", "sequence": "ForSequenceClassification",
           "token": "ForTokenClassification", "question": "ForQuestionAnswering",
           "choice": "ForMultipleChoice", "bare": "Model"}


class Tasks(Case):
    """A model of each kind over a WordPiece vocabulary, 30 tokens at most."""

    def model(self, kind, **fields):
        if (self.dir / kind).exists():
            return self.dir / kind
        return self.word_model(kind, CLASSES[kind], WORDS, **fields)

    def results(self, *arguments, **options):
        report = json.loads(self.ok(*arguments, "--json", **options))
        self.assertEqual(report["task"], arguments[0])
        return report["results"]

    # ---- where texts come from ------------------------------------------------------------------

    def test_files_folders_lines_and_stdin_are_the_same_texts(self):
        model, texts = self.model("sequence"), self.sentences()
        scores = [r["labels"] for r in self.results("classify", "-m", model, texts)]
        self.assertEqual(len(scores), len(SENTENCES))
        everything = "\n".join(SENTENCES) + "\n"
        (self.dir / "all.txt").write_text(everything)
        (self.dir / "all.jsonl").write_text(
            "".join(json.dumps({"text": s, "id": i}) + "\n" for i, s in enumerate(SENTENCES)))
        for arguments, stdin in (([self.dir / "all.txt", "--lines"], None), (["-", "--lines"], everything),
                                 ([self.dir / "all.jsonl"], None),
                                 ([x for s in SENTENCES for x in ("--text", s)], None)):
            again = self.results("classify", "-m", model, *arguments, input=stdin)
            for one, other in zip(scores, again):
                for a, b in zip(one, other["labels"]):
                    self.assertEqual(a["label"], b["label"])
                    self.assertAlmostEqual(a["score"], b["score"], places=5)
        self.assertEqual([r["id"] for r in self.results("classify", "-m", model,
                                                        self.dir / "all.jsonl")], [0, 1, 2, 3, 4])
        # As many threads as one likes: the same bytes.
        self.assertEqual(self.ok("classify", "-m", model, texts, "--json", "-t", "1"),
                         self.ok("classify", "-m", model, texts, "--json", "-t", "3"))

    def test_bad_inputs_are_told_in_one_line(self):
        model = self.model("sequence")
        self.fails(2, "classify", "-m", model, says=["nothing to read"])
        self.fails(4, "classify", "-m", model, self.dir / "none.txt", says=["none.txt", "--text"])
        empty = self.dir / "empty"
        empty.mkdir()
        self.fails(3, "classify", "-m", model, empty, says=["no file"])
        (self.dir / "program").write_bytes(b"\x7fELF\0\0")
        self.fails(3, "classify", "-m", model, self.dir / "program", says=["program", "byte 4"])
        for lines, says in (('{"text": "a"}\n{"texts": "a"}\n', 'bad.jsonl:2: "text" is missing'),
                            ('{"text": "a"}\n\n{"text: 1}\n', "bad.jsonl:3: ")):
            (self.dir / "bad.jsonl").write_text(lines)
            result = run("classify", "-m", model, self.dir / "bad.jsonl", "-q")
            self.assertEqual(result.returncode, 3, result.stderr)
            self.assertIn("bad.jsonl:1\t", result.stdout)
            (line,) = result.stderr.splitlines()
            self.assertTrue(line.startswith("longspan: "), line)
            self.assertIn(says, line)
        self.fails(2, "classify", "-m", model, "--text", "a", "--overflow", "fold", says=["fold"])
        self.fails(2, "classify", "-m", model, "--text", "a", "--global", "some", says=["some"])
        self.fails(2, "classify", "-m", model, "--text", "a", "--tokens", "31",
                   says=["31", "30"])
        self.fails(3, "classify", "-m", self.model("question"), "--text", "a",
                   says=["LongformerForQuestionAnswering", "qa"])
        self.fails(3, "classify", "-m", self.start, "--text", "a",
                   says=["ReformerModelWithLMHead", "generate"])
        self.fails(4, "classify", "-m", self.dir / "nothing", "--text", "a", says=["nothing"])
        (self.model("sequence") / "vocab.txt").unlink()
        self.fails(3, "classify", "-m", model, "--text", "a", says=["vocab.txt"])

    def test_long_texts_are_never_cut_in_silence(self):
        model = self.model("sequence")
        long = " ".join(SENTENCES)  # 45 tokens
        result = run("classify", "-m", model, "--text", long, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["results"][0]["windows"], 2)
        self.assertIn("longer than 30 tokens, read in 2 windows", result.stderr)
        result = run("classify", "-m", model, "--text", long, "--json", "--overflow", "truncate")
        self.assertEqual(json.loads(result.stdout)["results"][0]["windows"], 1)
        self.assertGreater(json.loads(result.stdout)["results"][0]["dropped"], 5)
        self.assertIn("were cut", result.stderr)
        self.fails(5, "classify", "-m", model, "--text", "a", "--text", long, "--overflow", "error",
                   says=["text 2", "30"])
        self.assertEqual(run("classify", "-m", model, "--text", long, "-q").stderr, "")

    def test_empty_text_and_one_word(self):
        for text in ("", "anne", "\u3042 \ufffd"):
            (result,) = self.results("classify", "-m", self.model("sequence"), "--text", text)
            self.assertAlmostEqual(sum(x["score"] for x in result["labels"]), 1.0, places=6)
            result = json.loads(self.ok("embed", "-m", self.model("bare"), "--text", text))
            self.assertEqual(len(result["embedding"]), 16)
            (result,) = self.results("token-classify", "-m", self.model("token"), "--text", text)
            self.assertLessEqual(len(result["entities"]), 2)

    # ---- the tasks ------------------------------------------------------------------------------

    def test_fill_mask(self):
        model = self.model("masked")
        text = "Anne saw the [MASK], to a very [MASK] house."
        (result,) = self.results("fill-mask", "-m", model, "--text", text, "--top", "30")
        self.assertEqual([m["chars"]["begin"] for m in result["masks"]],
                         [text.index("[MASK]"), text.rindex("[MASK]")])
        guesses = result["masks"][0]["guesses"]
        self.assertAlmostEqual(sum(g["score"] for g in guesses), 1.0, places=5)
        self.assertEqual(sorted(g["token"] for g in guesses), list(range(30)))
        for guess in guesses:  # a piece goes on with the word before it
            word = guess["token_str"]
            wanted = text.replace(" [MASK]", word[2:], 1) if word.startswith("##") else text.replace(
                "[MASK]", word, 1)
            self.assertEqual(guess["sequence"], wanted)
        self.assertIn("Anne saw thes, to a", [guess["sequence"][:19] for guess in guesses])
        shown = self.ok("fill-mask", "-m", model, "--text", text, "--top", "2")
        self.assertEqual(shown.count("characters"), 2)
        self.fails(2, "fill-mask", "-m", model, "--text", "Anne saw", says=["[MASK]", "text 1"])

    def test_classify_sets_of_labels_and_numbers(self):
        many = self.model("sequence", problem_type="multi_label_classification",
                          id2label={"0": "sea", "1": "land", "2": "air"})
        (result,) = self.results("classify", "-m", many, "--text", SENTENCES[0])
        self.assertEqual(result["scores_are"], "labels")
        self.assertEqual({x["label"] for x in result["labels"]}, {"sea", "land", "air"})
        line = self.ok("classify", "-m", many, "--text", SENTENCES[0], "--threshold", "0")
        self.assertEqual(line.count("\t"), 3)
        line = self.ok("classify", "-m", many, "--text", SENTENCES[0], "--threshold", "1")
        self.assertEqual(line.count("\t"), 0)
        best = result["labels"][0]["score"]
        (few,) = self.results("classify", "-m", many, "--text", SENTENCES[0], "--threshold", str(best - 1e-6))
        self.assertEqual(few["labels"], result["labels"][:1])
        line = self.ok("classify", "-m", many, "--text", SENTENCES[0], "--threshold", "0", "--top", "2")
        self.assertEqual(line.count("\t"), 2)
        number = self.word_model("number", CLASSES["sequence"], WORDS, problem_type="regression",
                                 id2label={"0": "LABEL_0"})
        (result,) = self.results("classify", "-m", number, "--text", SENTENCES[0])
        self.assertEqual([x["label"] for x in result["labels"]], ["value"])
        self.assertIn("\tvalue ", self.ok("classify", "-m", number, "--text", SENTENCES[0]))
        self.fails(2, "classify", "-m", number, "--text", "a", "--top", "2", says=["top: 2 are asked for", "one number"])
        self.fails(2, "classify", "-m", number, "--text", "a", "--threshold", "0.5", says=["gives each text numbers"])

    def test_options_without_an_effect_are_refused(self):
        single = self.model("sequence")
        self.fails(2, "classify", "-m", single, "--text", "a", "--threshold", "0.5",
                   says=["threshold: it is for models of sets of labels", "one class"])
        self.fails(2, "classify", "-m", single, "--text", "a", "--stride", "4", "--overflow", "truncate",
                   says=["stride: it is what neighbouring windows share, and --overflow truncate makes none"])
        self.fails(2, "classify", "-m", single, "--text", "a", "--stride", "100",
                   says=["stride: 100 must be below the", "tokens of text in a row"])
        self.fails(2, "multiple-choice", "-m", self.model("choice"), "--question", "Who?", "--choice", "a",
                   "--choice", "b", "--stride", "2", says=["stride"])
        for words, says in ((("--lines",), "lines: has no effect without a file to read"),
                            (("--json-lines",), "json-lines: has no effect"), (("--format", "csv"), "format: has no"),
                            (("--encoding", "latin-1"), "encoding: has no effect"),
                            (("--text-pair-column", "b"), "text-pair-column: has no effect")):
            self.fails(2, "classify", "-m", single, "--text", "a", *words, says=[says])
        self.ok("classify", "-m", single, "--text", "a", "--encoding", "utf-8")
        for command in (["qa"], ["multiple-choice"], ["rerank", "a query"]):  # each text comes with a question
            self.fails(2, *command, "-m", single, "texts.csv", "--text-pair-column", "b", says=["--text-pair-column"])
        self.fails(2, "rerank", "a query", "-m", single, "--text", "a", "--stride", "2", "--overflow", "truncate",
                   says=["stride: it is what neighbouring windows share"])

    def test_options_are_checked_before_a_model_is_loaded(self):
        """Its weights cannot be read, which no message says."""
        def broken(kind, **fields):
            model = self.model(kind, **fields)
            (model / "model.safetensors").write_bytes(b"no weights")
            self.fails(3, {"sequence": "classify", "masked": "embed"}[kind], "-m", model, "--text", "a")
            return model
        judge, masked = broken("sequence"), broken("masked")
        reformer = self.dir / "reformer"
        shutil.copytree(self.start, reformer)
        (reformer / "model.safetensors").write_bytes(b"no weights")
        table, no_config = self.dir / "table.csv", self.dir / "no-config"
        table.write_text("text,label\na,LABEL_0\n")
        no_config.mkdir()
        (no_config / "config.json").write_text("{")
        of_a_model = {"threshold", "no label 'sun'", "stride", "tokens", "prompt of 49", "rounds",
                      "--packed is for masked language models"}
        for words, says in (
                (["classify", "-m", judge, "--threshold", "0.5"], "threshold: it is for models of sets"),
                (["classify", "-m", judge, "--explain-label", "sun"], "no label 'sun'"),
                (["classify", "-m", judge, "--stride", "-1"], "stride"),
                (["classify", "-m", judge, "--stride", "400"], "stride: 400 must be below the"),
                (["embed", "-m", masked, "--tokens", "8", "--stride", "7"], "stride: 7 must be below the"),
                (["eval", "-m", judge, table, "--stride", "400"], "stride: 400 must be below the"),
                (["eval", "-m", judge, table, "--predictions", "x.txt"], "x.txt"),
                (["eval", "-m", judge, table, "--predictions", table], "table.csv"),
                (["eval", "-m", judge, table, "--global", "some"], "some"),
                (["eval", "-m", judge, table, "--overflow", "some"], "some"),
                (["eval", "-m", masked, self.text, "--documents", "some"], "some"),
                (["classify", "-m", judge, "--batch-tokens", "0"], "batch-tokens"),
                (["classify", "-m", judge, "--global", "some"], "some"),
                (["classify", "-m", judge, "--overflow", "some"], "some"),
                (["classify", "-m", judge, "--attention", "some"], "some"),
                (["classify", "-m", judge, "-o", self.dir / "x.npy"], "x.npy"),
                (["token-classify", "-m", masked, "--aggregate", "some"], "some"),
                (["embed", "-m", masked, "--pooling", "some"], "some"),
                (["embed", "-m", masked, "--prompt", "\udcff"], "--prompt"),
                (["similar", "-m", masked, "--among", self.text, "--pooling", "some"], "some"),
                (["similar", "-m", masked, "--among", self.text, "--similarity", "some"], "some"),
                (["similar", "-m", masked, "--among", self.text, "--ranges", "r.npy"], "ranges: has no effect"),
                (["generate", "-m", reformer, "-p", "a", "--top-p", "2"], "top-p"),
                (["generate", "-m", reformer, "-p", "a", "-n", "-1"], "tokens"),
                (["generate", "-m", reformer, "-p", "a", "--stop", ""], "stop"),
                (["generate", "-m", reformer, "-p", "a", "--beams", "0"], "beams"),
                (["generate", "-m", reformer, "-p", "a", "--attention", "some"], "some"),
                (["eval", "-m", reformer, self.text, "--stride", "-1"], "stride"),
                (["eval", "-m", reformer, self.text, "--held-out", "2"], "held-out"),
                (["eval", "-m", masked, self.text, "--mask-share", "2"], "mask-share"),
                (["eval", "-m", judge, self.text, "--tokens", "-1"], "tokens"),
                (["eval", "-m", judge, self.text, "--packed"], "--packed is for masked language models"),
                (["lsh-report", "-m", reformer, self.text, "--rounds", "2,1"], "rounds: 1 does not rise"),
                (["decode-report", "-m", reformer, self.text, "--tokens", "50", "--prompt", "49"], "prompt of 49"),
                (["decode-report", "-m", reformer, self.text, "--windows", "0"], "windows")):
            text = ["--text", "a"] if words[0] in ("classify", "token-classify", "embed", "similar") else []
            self.fails(2, *words, *text, says=[says])
            if says.split(":")[0] in of_a_model:
                continue
            # Nor is anything of it read for what is wrong with any model.
            self.fails(2, *[no_config if word in (judge, masked, reformer) else word for word in words], *text,
                       says=[says])
        self.fails(2, "classify", "-m", no_config, table, "-o", table, says=["table.csv"])
        self.fails(2, "classify", "-m", no_config, table, "-o", no_config / "config.json", says=["config.json"])

    def test_with_json_every_line_is_an_object(self):
        model, texts = self.model("sequence"), self.sentences()
        (texts / "bad.txt").write_bytes(b"\xff")
        (texts / "empty.txt").write_bytes(b"")
        long = ["--text", " ".join(SENTENCES)]
        for words in (["--json", "classify"], ["classify", "--json"], ["-t", "2", "--json", "classify"]):
            result = run(*words, "-m", model, texts, *long)
            self.assertEqual(result.returncode, 3, result.stderr)
            self.assertEqual(len(json.loads(result.stdout)["results"]), len(SENTENCES) + 1)
            lines = [json.loads(line) for line in result.stderr.splitlines()]
            # Where the status is not 0 the last one says so.
            error = lines.pop()["error"]
            self.assertEqual((error["code"], error["kind"]), (3, "bad_data"))
            self.assertIn("1 text cannot be used", error["message"])
            self.assertEqual({key for line in lines for key in line}, {"note"})
            notes = "\n".join(line["note"] for line in lines)
            self.assertNotIn("longspan: ", notes)
            for part in ("bad.txt", "empty.txt: empty, passed over", "read in", "texts"):
                self.assertIn(part, notes)

    def test_windows_have_scores_and_places(self):
        model, long = self.model("sequence"), " ".join(SENTENCES)
        (result,) = self.results("classify", "-m", model, "--text", long, "--windows", "--stride", "4")
        windows = result["window_scores"]
        self.assertEqual(len(windows), result["windows"])
        self.assertGreater(len(windows), 1)
        self.assertEqual(windows[0]["chars"]["begin"], 0)
        self.assertEqual(windows[-1]["chars"]["end"], len(long))
        for before, after in zip(windows, windows[1:]):
            self.assertLess(after["chars"]["begin"], before["chars"]["end"])  # they share tokens
        def scores(of):
            return {x["label"]: x["score"] for x in of["labels"]}
        weights = [w["tokens"] / result["tokens"] for w in windows]
        for label, score in scores(result).items():
            mean = sum(w * scores(x)[label] for w, x in zip(weights, windows))
            self.assertAlmostEqual(mean, score, places=6)
        lines = self.ok("classify", "-m", model, "--text", long, "--windows", "--stride", "4", "-q")
        self.assertEqual(lines.count("\n"), 1 + len(windows))
        self.assertIn(f"  characters 0-{windows[0]['chars']['end']}\t", lines)

    def test_explanations_of_sets_pairs_and_windows(self):
        many = self.model("sequence", problem_type="multi_label_classification",
                          id2label={"0": "sea", "1": "land", "2": "air"})
        text = "\n\n".join(SENTENCES)
        (result,) = self.results("classify", "-m", many, "--text", text, "--explain", "--threshold",
                                 "0")
        self.assertEqual("".join(x["text"] for x in result["sentences"]), text)
        for sentence in result["sentences"]:
            self.assertEqual({x["label"] for x in sentence["changes"]}, {"sea", "land", "air"})
        shown = self.ok("classify", "-m", many, "--text", text, "--explain=2", "--threshold", "0",
                        "--html", self.dir / "sets.html", "-q")
        self.assertEqual(shown.count("\n"), 1 + 3 * 2)
        self.assertEqual((self.dir / "sets.html").read_text().count("<h3>"), 3)
        pairs = self.dir / "pairs.jsonl"
        pairs.write_text(json.dumps({"text": "Anne saw. Who?", "text_pair": "The ship. Old."}) + "\n")
        (result,) = self.results("classify", "-m", many, pairs, "--explain")
        self.assertEqual([x["of"] for x in result["sentences"]], ["text"] * 2 + ["text_pair"] * 2)
        self.assertEqual(result["sentences"][3]["text"], "Old.")

    def test_rows_are_called_by_their_id(self):
        model, lines = self.model("sequence"), self.dir / "rows.jsonl"
        names = ["q7", 12, None, "", 123456789012345678901234567890]
        lines.write_text("".join(json.dumps({"text": SENTENCES[i], "id": x}) + "\n"
                                 for i, x in enumerate(names)) + json.dumps({"text": "a"}) + "\n")
        called = [line.split("\t")[0] for line in self.ok("classify", "-m", model, lines).splitlines()]
        self.assertEqual(called, ["q7", "12", f"{lines}:3", f"{lines}:4", str(names[4]), f"{lines}:6"])
        table = self.dir / "rows.csv"
        table.write_text(f"id,text,context\nq7,{SENTENCES[2]},{SENTENCES[2]}\n")
        for kind, command, more in (("token", "token-classify", ["--aggregate", "none"]),
                                    ("question", "qa", ["--question", "Who?"])):
            shown = self.ok(command, "-m", self.model(kind), table, *more)
            self.assertTrue(all(line.startswith("q7") for line in shown.splitlines()), shown)
        # Messages name the place, which is what can be looked up.
        lines.write_text(json.dumps({"text": " ".join(SENTENCES), "id": "q7"}) + "\n")
        self.assertIn("rows.jsonl:1: longer than 30 tokens", run("classify", "-m", model, lines).stderr)

    def test_results_come_batch_by_batch(self):
        """Those before a text that ends the run are printed when they are known."""
        model = self.model("sequence")
        texts = [x for s in [*SENTENCES[:3], " ".join(SENTENCES)] for x in ("--text", s)]
        for more in ([], ["--explain"]):
            result = run("classify", "-m", model, *texts, "--overflow", "error", "--batch-tokens", "1",
                         *more)
            self.assertEqual(result.returncode, 5, result.stderr)
            self.assertEqual([line.split("\t")[0] for line in result.stdout.splitlines()
                              if not line.startswith(" ")], ["text 1", "text 2", "text 3"])

    def test_any_label_is_explained(self):
        model = self.model("sequence", id2label={"0": "sea", "1": "land", "2": "air"})
        text = "\n\n".join(SENTENCES[:3])
        (best,) = self.results("classify", "-m", model, "--text", text, "--explain")
        scores = {x["label"]: x["score"] for x in best["labels"]}
        self.assertEqual([x["label"] for x in best["explained"]], [max(scores, key=scores.get)])
        (chosen,) = self.results("classify", "-m", model, "--text", text, "--explain-label", "air",
                                 "--explain-label", "sea")
        self.assertEqual([(x["label"], x["score"]) for x in chosen["explained"]],
                         [("air", scores["air"]), ("sea", scores["sea"])])
        for sentence in chosen["sentences"]:
            self.assertEqual([x["label"] for x in sentence["changes"]], ["air", "sea"])
        shown = self.ok("classify", "-m", model, "--text", text, "--explain=1", "--explain-label", "air")
        self.assertIn("\n  air ", shown)
        self.fails(2, "classify", "-m", model, "--text", text, "--explain-label", "fire",
                   says=["fire", "sea, land, air"])

    def test_no_sentence_decided(self):
        """Without a head's weights all texts have the same scores."""
        model = self.model("sequence", initializer_range=1e-6, id2label={"0": "sea", "1": "land"})
        text, page = "\n\n".join(SENTENCES[:3]), self.dir / "why.html"
        shown = self.ok("classify", "-m", model, "--text", text, "--explain-label", "sea", "--html",
                        page)
        words = "no sentence decided: each changes the score by less than 0.01"
        self.assertIn(f"\n  sea: {words}\n", shown)
        self.assertIn(words, page.read_text())
        (result,) = self.results("classify", "-m", model, "--text", text, "--explain")
        self.assertEqual([x["decided"] for x in result["explained"]], [False])

    def test_token_classify(self):
        model = self.model("token", id2label={"0": "O", "1": "B-PER", "2": "I-PER"})
        text = "Captain Fredericks saw Annes."
        (result,) = self.results("token-classify", "-m", model, "--text", text, "--aggregate", "none")
        for e in result["entities"]:
            self.assertEqual(text[e["start"]:e["end"]], e["word"])
            self.assertIn(e["label"], ("B-PER", "I-PER"))
        (result,) = self.results("token-classify", "-m", model, "--text", text, "--aggregate", "first")
        for e in result["entities"]:
            self.assertEqual(e["label"], "PER")
            self.assertTrue(e["end"] == len(text) or not text[e["end"]].isalpha())
        self.fails(2, "token-classify", "-m", model, "--text", text, "--aggregate", "last",
                   says=["last", "average"])

    def test_qa(self):
        model = self.model("question")
        text = "Anne saw the ship. \u00e9\u00e9 Captain Frederick went to sea."
        (result,) = self.results("qa", "-m", model, "--text", text, "--question",
                                 "Who went to sea?", "--top", "4")
        self.assertEqual(len(result["answers"]), 4)
        for answer in result["answers"]:
            self.assertEqual(text[answer["start"]:answer["end"]], answer["answer"])
            self.assertTrue(0 < answer["score"] <= 1)
        lines = self.dir / "q.jsonl"
        lines.write_text(json.dumps({"question": "Who went to sea?", "context": text, "id": "q7"}))
        (again,) = self.results("qa", "-m", model, lines, "--top", "4")
        self.assertEqual(again["answers"], result["answers"])
        self.assertEqual(again["id"], "q7")
        # A context of several windows, found by characters of the whole.
        long = " ".join(SENTENCES)
        (result,) = self.results("qa", "-m", model, "--text", long, "--question", "Who?", "--top",
                                 "20", "--stride", "8")
        self.assertGreater(result["windows"], 1)
        for answer in result["answers"]:
            self.assertEqual(long[answer["start"]:answer["end"]], answer["answer"])
        self.assertGreater(max(a["end"] for a in result["answers"]), 60)
        (result,) = self.results("qa", "-m", model, "--text", text, "--question", "Who?", "--top",
                                 "1000", "--may-be-none")
        self.assertEqual([a["answer"] for a in result["answers"]].count(""), 1)
        self.fails(2, "qa", "-m", model, "--text", text, says=["no question"])
        self.fails(2, "qa", "-m", model, "--text", "", "--question", "Who?", says=["no text"])
        # A question that leaves the text no room.
        self.fails(5, "qa", "-m", model, "--text", text, "--question", long, says=["text 1"])

    def test_multiple_choice(self):
        model = self.model("choice")
        arguments = ["multiple-choice", "-m", model, "--question", "Who went to sea?", "--choice",
                     "Anne", "--choice", "the captain", "--choice", "a ship"]
        (result,) = self.results(*arguments)
        scores = [c["score"] for c in result["choices"]]
        self.assertAlmostEqual(sum(scores), 1.0, places=6)
        self.assertEqual(result["best"], scores.index(max(scores)))
        lines = self.dir / "c.jsonl"
        lines.write_text(json.dumps({"context": "", "question": "Who went to sea?",
                                     "choices": ["Anne", "the captain", "a ship"]}))
        (again,) = self.results("multiple-choice", "-m", model, lines)
        self.assertEqual(again["choices"], result["choices"])
        self.assertEqual(self.ok(*arguments).count("*"), 1)
        self.fails(2, *arguments[:-4], says=["1 choices"])
        long = " ".join(SENTENCES)
        self.fails(5, *arguments, "--text", long, says=["text 1"])
        self.ok(*arguments, "--text", long, "--overflow", "truncate")
        self.fails(2, *arguments, "--text", long, "--overflow", "window", says=["windows"])

    def table(self, path, separator=","):
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, delimiter=separator))

    def test_answers_as_tables(self):
        """Each line has what the document of --json has."""
        three = {"0": "sea", "1": "land, dry", "2": "air"}
        lines = self.dir / "rows.jsonl"
        lines.write_text("".join(json.dumps({"text": s, "context": s, "id": f"q{i}"}) + "\n"
                                 for i, s in enumerate(SENTENCES)))
        ids = [f"q{i}" for i in range(len(SENTENCES))]

        def both(command, model, *more):
            for name, separator in (("a.csv", ","), ("a.TSV", "\t")):
                self.ok(command, "-m", model, lines, *more, "-o", self.dir / name)
                yield self.table(self.dir / name, separator), self.results(command, "-m", model, lines, *more)
        model = self.model("sequence", id2label=three)
        for table, results in both("classify", model):
            self.assertEqual(list(table[0]), ["input", "id", "label", "score", "score sea", "score land, dry",
                                              "score air"])
            self.assertEqual([row["id"] for row in table], ids)
            for row, result in zip(table, results, strict=True):
                best = result["labels"][0]
                self.assertEqual((row["input"], row["label"], float(row["score"])),
                                 (result["input"], best["label"], best["score"]))
                self.assertEqual({x["label"]: x["score"] for x in result["labels"]},
                                 {label: float(row["score " + label]) for label in three.values()})
        printed = self.ok("classify", "-m", model, lines, "--output-format", "csv")
        self.assertEqual(printed.encode(), (self.dir / "a.csv").read_bytes().replace(b"\r\n", b"\n"))
        self.ok("classify", "-m", model, lines, "-o", self.dir / "parts.csv", "--resume")
        self.assertEqual((self.dir / "parts.csv").read_bytes(), (self.dir / "a.csv").read_bytes())
        self.ok("classify", "-m", model, lines, "-o", self.dir / "top.csv", "--top", "2")
        for row in self.table(self.dir / "top.csv"):
            self.assertEqual([row["score " + label] for label in three.values()].count(""), 1)
        for more in (["--windows"], ["--explain"]):
            self.fails(2, "classify", "-m", model, lines, "-o", self.dir / "no.csv", *more,
                       says=["--windows", "jsonl"])
        self.assertFalse((self.dir / "no.csv").exists())
        # A text without an id: no such column.
        plain = self.ok("classify", "-m", model, "--text", "a", "--output-format", "tsv")
        self.assertTrue(plain.startswith("input\tlabel\tscore\t"))

        model = self.model("token", id2label={"0": "O", "1": "B-PER", "2": "I-PER"})
        for table, results in both("token-classify", model):
            self.assertEqual(
                [(r["id"], r["label"], float(r["score"]), r["word"], int(r["start"]), int(r["end"])) for r in table],
                [(x["id"], *e.values()) for x in results for e in x["entities"]])
            self.assertGreater(len(table), 3)
        for table, results in both("qa", self.model("question"), "--question", "Who?", "--top", "2"):
            self.assertEqual(
                [(r["id"], r["question"], r["answer"], float(r["score"]), int(r["start"]), int(r["end"]))
                 for r in table],
                [(x["id"], "Who?", *a.values()) for x in results for a in x["answers"]])
        lines.write_text(json.dumps({"text": "A [MASK], \n[MASK].", "id": "q0"}) + "\n")
        for table, results in both("fill-mask", self.model("masked"), "--top", "3"):
            self.assertEqual(
                [(r["mask"], int(r["start"]), int(r["end"]), float(r["score"]), int(r["token"]), r["token_str"],
                  r["sequence"]) for r in table],
                [(str(n + 1), m["chars"]["begin"], m["chars"]["end"], *g.values())
                 for n, m in enumerate(results[0]["masks"]) for g in m["guesses"]])
            self.assertEqual(len(table), 6)
        lines.write_text(json.dumps({"id": 1.0, "context": SENTENCES[0], "question": "Who?",
                                     "choices": ["Anne, a lady", "the ship"]}) + "\n")
        for table, results in both("multiple-choice", self.model("choice")):
            self.assertEqual([r["id"] for r in table], ["1.0", "1.0"])
            self.assertEqual([(r["choice"], float(r["score"]), r["best"]) for r in table],
                             [(c["choice"], c["score"], "true" if n == results[0]["best"] else "false")
                              for n, c in enumerate(results[0]["choices"])])

    def test_tables_of_sets_and_numbers(self):
        many = self.model("sequence", problem_type="multi_label_classification",
                          id2label={"0": "sea", "1": "land", "2": "air"})
        for more, expected in ((["--threshold", "0"], 3), (["--threshold", "1"], 0), (["--top", "2"], 2)):
            self.ok("classify", "-m", many, "--text", SENTENCES[0], "-o", self.dir / "sets.csv", *more)
            (row,) = self.table(self.dir / "sets.csv")
            self.assertEqual(list(row), ["input", "label", "score sea", "score land", "score air"])
            self.assertEqual(len(json.loads(row["label"])), expected)
        # Without options those from one half on, as people are shown them.
        below = 0
        for text in SENTENCES:
            self.ok("classify", "-m", many, "--text", text, "-o", self.dir / "sets.csv")
            (row,) = self.table(self.dir / "sets.csv")
            above = {name for name in ("sea", "land", "air") if float(row[f"score {name}"]) >= 0.5}
            self.assertEqual(set(json.loads(row["label"])), above)
            below += 3 - len(above)
        self.assertGreater(below, 0)
        shutil.rmtree(many)
        numbers = self.model("sequence", problem_type="regression",
                             id2label={"0": "LABEL_0", "1": "LABEL_1"})
        (result,) = self.results("classify", "-m", numbers, "--text", SENTENCES[0])
        self.ok("classify", "-m", numbers, "--text", SENTENCES[0], "-o", self.dir / "numbers.csv")
        (row,) = self.table(self.dir / "numbers.csv")
        self.assertEqual({f"score {one['label']}": one["score"] for one in result["labels"]},
                         {name: float(row[name]) for name in list(row)[1:]})
        shutil.rmtree(numbers)
        number = self.model("sequence", problem_type="regression", id2label={"0": "stars"})
        (result,) = self.results("classify", "-m", number, "--text", SENTENCES[0])
        self.ok("classify", "-m", number, "--text", SENTENCES[0], "-o", self.dir / "stars.csv")
        (row,) = self.table(self.dir / "stars.csv")
        self.assertEqual((list(row), float(row["score"])), (["input", "score"], result["labels"][0]["score"]))

    def test_bf16_is_near(self):
        model, texts = self.model("sequence"), self.sentences()
        full = self.results("classify", "-m", model, texts)
        half = self.results("classify", "-m", model, texts, "--dtype", "bf16")
        self.assertNotEqual(full, half)
        for a, b in zip(full, half):
            scores = {x["label"]: x["score"] for x in a["labels"]}
            for x in b["labels"]:
                self.assertAlmostEqual(x["score"], scores[x["label"]], delta=0.05)

    def test_the_name_of_a_file_says_its_form(self):
        texts = self.sentences()
        for command, kind in (("classify", "sequence"), ("token-classify", "token")):
            ask = [command, "-m", self.model(kind), texts]
            results = self.results(*ask)
            for name, more in (("x.jsonl", []), ("x.NDJSON", []), ("x", ["--output-format", "jsonl"])):
                self.ok(*ask, "-o", self.dir / name, *more)
                lines = (self.dir / name).read_text().splitlines()
                self.assertEqual([json.loads(line) for line in lines], results)
            for name, more in (("y.json", []), ("y.jsonl", ["--json"]), ("y.txt", ["--output-format", "json"])):
                self.ok(*ask, "-o", self.dir / name, *more)
                self.assertEqual(json.loads((self.dir / name).read_text())["results"], results)
            for name, more in (("z.txt", []), ("z", []), ("z.jsonl", ["--output-format", "text"])):
                self.ok(*ask, "-o", self.dir / name, *more)
                self.assertEqual((self.dir / name).read_text(), self.ok(*ask))
            self.fails(2, *ask, "-o", self.dir / "z.npy", says=["z.npy", command, ".jsonl, .csv, .tsv", "--output-format"])
            self.fails(2, *ask, "--output-format", "npy", says=["npy", "text, json, jsonl, csv, tsv"])
            self.fails(2, *ask, "--json", "--output-format", "text", says=["--json", "text"])

    def test_global_tokens_are_named_once(self):
        for kind, global_, tokens in (("sequence", None, 1), ("sequence", "first:3", 3),
                                      ("sequence", "token:[SEP]", 1), ("sequence", "none", 0)):
            more = ["--global", global_] if global_ else []
            result = run("classify", "-m", self.model(kind), "--text", SENTENCES[0], *more)
            self.assertEqual(result.stderr.count("global"), 1, result.stderr)
            self.assertIn(f"({tokens} token{'' if tokens == 1 else 's'})", result.stderr)

    def test_the_folder_says_which_tokens_were_global(self):
        model = self.word_model("trained", CLASSES["token"], WORDS, longspan_global_tokens="first:2")
        self.ok("convert", model, self.dir / "copy")
        for folder in (model, self.dir / "copy"):
            self.assertIn("first:2, as in its training", self.ok("info", folder))
            ask = ["token-classify", "-m", folder, "--text", SENTENCES[0]]
            for more, says in (([], "global: first:2 (2 tokens), as in its training"),
                               (["--global", "none"], "global: none (0 tokens), as the options say"),
                               (["--global", "head"], "global: none (0 tokens), as its head needs")):
                self.assertIn(says, run(*ask, *more).stderr)
            asked = [self.results(*ask, *more) for more in ([], ["--global", "first:2"], ["--global", "head"])]
            self.assertEqual(asked[0], asked[1])
            self.assertNotEqual(asked[0], asked[2])


if __name__ == "__main__":
    main()
