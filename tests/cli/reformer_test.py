#!/usr/bin/env python3
"""Reformers with every head from outside: init, info, verify, train, eval, tasks, strict lengths.

usage: reformer_test.py PROGRAM [unittest options]
"""
import json
import random

from support import ROOT, Case, main

LETTERS = list("abcdefghij")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
SHORT = ["--log-every", "50", "--save-every", "0", "--eval-every", "0", "--progress", "none"]


class Reformers(Case):
    """Small Reformers over a WordPiece vocabulary of letters."""

    def config(self, head, **fields):
        file = self.dir / "config.json"
        file.write_text(json.dumps({
            "model_type": "reformer", "architectures": ["Reformer" + head], "is_decoder": False,
            "attn_layers": ["local", "lsh"], "vocab_size": len(WORDS), "hidden_size": 32,
            "num_attention_heads": 2, "attention_head_size": 16, "feed_forward_size": 64,
            "axial_pos_shape": [8, 8], "axial_pos_embds_dim": [8, 24], "axial_norm_std": 0.1,
            "max_position_embeddings": 64, "local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8,
            "local_num_chunks_after": 1, "lsh_num_chunks_after": 1, "num_hashes": 2,
            "initializer_range": 0.1, "pad_token_id": 0, **fields}))
        return file

    def model(self, head, name="model", **fields):
        folder = self.dir / name
        self.ok("init", "--config", self.config(head, **fields), "-o", folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        return folder

    def json_of(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    # ---- models ---------------------------------------------------------------------------------

    def test_init_takes_sizes(self):
        folder = self.dir / "sized"
        self.ok("init", "--preset", "tiny", "--layers", "3", "--width", "96", "--heads", "6",
                "--positions", "32768", "-o", folder)
        config = json.loads((folder / "config.json").read_text())
        self.assertEqual(config["attn_layers"], ["local", "lsh", "local"])
        self.assertEqual((config["hidden_size"], config["num_attention_heads"],
                          config["attention_head_size"]), (96, 6, 16))
        self.assertEqual(config["feed_forward_size"], 4 * 96)
        self.assertEqual(config["max_position_embeddings"], 32768)
        self.assertEqual(config["axial_pos_shape"], [128, 256])
        self.assertEqual(config["axial_pos_embds_dim"], [24, 72])
        self.ok("generate", "-m", folder, "-p", "a", "--tokens", "4")
        # Without them the preset stays what it is.
        for name, more in (("a", []), ("b", ["--width", "128", "--heads", "2", "--layers", "2",
                                             "--positions", "16384"])):
            self.ok("init", "--preset", "tiny", *more, "-o", self.dir / name)
        self.assertEqual((self.dir / "a" / "model.safetensors").read_bytes(),
                         (self.dir / "b" / "model.safetensors").read_bytes())
        long = self.dir / "long"
        self.ok("init", "--arch", "longformer", "--preset", "tiny", "--layers", "3", "--heads", "4",
                "--width", "64", "--positions", "300", "-o", long)
        config = json.loads((long / "config.json").read_text())
        self.assertEqual((config["num_hidden_layers"], len(config["attention_window"])), (3, 3))
        self.assertEqual(config["hidden_size"], 64)
        self.assertEqual(self.json_of("info", long)["positions"]["positions"], 300)
        for more, says in ((["--width", "100", "--heads", "3"], ["100", "3 heads", "--heads"]),
                           (["--heads", "7"], ["128", "7 heads"]),
                           (["--positions", "10007"], ["10007 positions", "such as 10112"]),
                           (["--layers", "0"], ["--layers", "0"])):
            self.fails(2, "init", "--preset", "tiny", *more, "-o", self.dir / "x", says=says)
        self.fails(2, "init", "--arch", "longformer", "--preset", "tiny", "--width", "99", "-o",
                   self.dir / "x", says=["99", "heads"])
        self.assertFalse((self.dir / "x").exists())

    def test_init_makes_every_head(self):
        classes = {"lm": "ReformerModelWithLMHead", "mlm": "ReformerForMaskedLM",
                   "classify": "ReformerForSequenceClassification",
                   "qa": "ReformerForQuestionAnswering", "none": "ReformerModel"}
        for head, name in classes.items():
            folder = self.dir / head
            labels = ["--labels", "calm,storm,fog"] if head == "classify" else []
            out = self.ok("init", "--preset", "tiny", "--head", head, *labels, "-o", folder,
                          "--rotation-seed", "5")
            info = self.json_of("info", folder)
            self.assertEqual(info["architecture"], name)
            self.assertEqual(info["causal"], head == "lm")
            self.assertEqual(info["lsh"]["rotation_seed"], 5)
            self.assertEqual(info.get("labels"),
                             ["calm", "storm", "fog"] if head == "classify" else None)
            if head in ("lm", "mlm", "classify"):
                self.assertIn(f"longspan train {head} -m", out)
        self.fails(2, "init", "--head", "token-classify", "-o", self.dir / "x", says=["qa"])
        self.ok("init", "--arch", "longformer", "--preset", "tiny", "--head", "token-classify",
                "--labels", "O,B-PER", "-o", self.dir / "tokens")
        self.assertEqual(self.json_of("info", self.dir / "tokens")["architecture"],
                         "LongformerForTokenClassification")

    def test_verify_holds_recorded_heads(self):
        for case in ("reformer-seqcls", "reformer-qa"):
            folder = ROOT / "golden" / case
            report = self.json_of("verify", folder, "--case", folder / "case.safetensors")
            self.assertTrue(report["ok"])
        # Other rounds of hashing: the case's rotations do not fit.
        self.fails(3, "verify", folder, "--case", folder / "case.safetensors", "--num-hashes", "3",
                   says=["rotations.1"])

    # ---- learning -------------------------------------------------------------------------------

    def test_masked_words_then_classes(self):
        text = self.dir / "letters.txt"
        text.write_text("\n\n".join(" ".join(LETTERS[i % 10] for i in range(50))
                                    for _ in range(40)))
        start, adapted = self.model("ForMaskedLM"), self.dir / "adapted"
        report = self.json_of("train", "mlm", "-m", start, "--train", text, "-o", adapted,
                              "--tokens", "30", "--documents", "blank-line", "--steps", "200",
                              "--batch", "4", "--lr", "3e-3", "--dropout", "0", *SHORT)
        self.assertGreater(report["accuracy"], 0.8)
        value = self.json_of("eval", "-m", adapted, text, "--held-out", "0.1", "--tokens", "30",
                             "--documents", "blank-line")
        self.assertAlmostEqual(value["loss"], report["loss"], places=6)
        guess = self.json_of("fill-mask", "-m", adapted, "--text",
                             "a b c d e f g [MASK] i j a b c d")["results"][0]
        self.assertEqual(guess["masks"][0]["guesses"][0]["token_str"], "h")

        random.seed(3)
        rows = ["text,label"]
        for _ in range(120):
            kind = random.choice(["a", "b", ""])
            words = [random.choice(LETTERS[2:]) for _ in range(random.randint(3, 18))]
            if kind:
                words[random.randrange(len(words))] = kind
            rows.append(" ".join(words) + "," + (f"has {kind}" if kind else "neither"))
        table = self.dir / "table.csv"
        table.write_text("\n".join(rows) + "\n")
        judge = self.dir / "judge"
        report = self.json_of("train", "classify", "-m", adapted, "--train", table, "-o", judge,
                              "--epochs", "30", "--batch", "4", "--accumulate", "1", "--lr", "2e-3",
                              "--dropout", "0", *SHORT)
        self.assertGreater(report["accuracy"], 0.9)
        self.assertGreater(self.json_of("eval", "-m", judge, table)["accuracy"], 0.9)
        labels = [r["labels"][0]["label"] for r in self.json_of(
            "classify", "-m", judge, "--text", "c d b e f g")["results"]]
        self.assertEqual(labels, ["has b"])

    def test_bytes_become_a_classifier(self):
        table = self.dir / "table.csv"
        table.write_text("text,label\n" + "".join(
            f"{'ba' * (3 + i % 7)}{'!' * (i % 2)},{'loud' if i % 2 else 'calm'}\n" for i in range(60)))
        judge = self.dir / "judge"
        report = self.json_of("train", "classify", "-m", self.start, "--train", table, "-o", judge,
                              "--epochs", "25", "--batch", "4", "--accumulate", "1", "--lr", "1e-3",
                              "--dropout", "0", *SHORT)
        self.assertGreater(report["accuracy"], 0.9)
        results = self.json_of("classify", "-m", judge, "--text", "bababababa!")["results"]
        self.assertEqual(results[0]["labels"][0]["label"], "loud")
        self.assertEqual(json.loads((judge / "config.json").read_text())["architectures"],
                         ["ReformerForSequenceClassification"])

    # ---- asking ---------------------------------------------------------------------------------

    def test_questions_and_vectors(self):
        model = self.model("ForQuestionAnswering")
        lines = self.dir / "questions.jsonl"
        lines.write_text(json.dumps({"question": "a b", "context": "c d e f g h"}) + "\n")
        answer = self.json_of("qa", "-m", model, lines)["results"][0]["answers"][0]
        self.assertIn(answer["answer"], "c d e f g h")
        bare = self.model("Model", "bare")
        vectors = [json.loads(line)["embedding"] for line in
                   self.ok("embed", "-m", bare, "--text", "a b c").splitlines()]
        self.assertEqual([len(v) for v in vectors], [64])
        self.fails(2, "qa", "-m", model, lines, "--global", "first:1", says=["no global tokens"])
        self.ok("qa", "-m", model, lines, "--dtype", "bf16")
        self.fails(3, "classify", "-m", model, "--text", "a",
                   says=["ReformerForQuestionAnswering", "qa", "classify"])

    # ---- lengths and rounds ---------------------------------------------------------------------

    def test_any_length_unless_strict(self):
        run = ["train", "lm", "-m", self.start, "--train", self.text, "--steps", "2", "--batch", "2",
               "--progress", "none", "--tokens"]
        self.ok(*run, "77", "-o", self.dir / "any")
        self.fails(2, *run, "77", "-o", self.dir / "strict", "--strict", says=["77", "multiple"])
        self.assertFalse((self.dir / "strict").exists())
        self.fails(2, *run, "128", "-o", self.dir / "strict", "--strict", says=["axial_pos_shape"])
        short = self.dir / "short.txt"
        short.write_bytes(self.text.read_bytes()[:200])
        loose = self.json_of("eval", "-m", self.start, short, "--tokens", "77")
        strict = self.json_of("eval", "-m", self.start, short, "--tokens", "77", "--strict")
        # Padding that is no whole chunk is seen by nobody.
        self.assertAlmostEqual(loose["loss"], strict["loss"], places=6)

    def test_rounds_and_the_bias_of_a_call(self):
        short = self.dir / "short.txt"
        short.write_bytes(self.text.read_bytes()[:600])
        losses = {self.json_of("eval", "-m", self.start, short, "--tokens", "300", *more)["loss"]
                  for more in ([], ["--num-hashes", "4"])}
        self.assertEqual(len(losses), 2)
        for more in (["--num-hashes", "4"], ["--no-lm-bias"]):
            text = self.ok("generate", "-m", self.start, "-p", "She had", "-n", "12", "--temp", "0",
                           *more)
            self.assertTrue(text.startswith("She had"))
        self.ok("eval", "-m", self.start, short, "--no-lm-bias")
        table = self.dir / "table.csv"
        table.write_text("text,label\n" + "a b c d e f g h i j a b c,x\nb c,y\n" * 3)
        judge = self.model("ForSequenceClassification", id2label={"0": "x", "1": "y"},
                           label2id={"x": 0, "y": 1})
        losses = {self.json_of("eval", "-m", judge, table, *more)["loss"]
                  for more in ([], ["--num-hashes", "4"], ["--attention", "full"])}
        self.assertEqual(len(losses), 3)
        scores = {self.json_of("classify", "-m", judge, "--text", "a b c d e f g h i j a", *more)
                  ["results"][0]["labels"][0]["score"] for more in ([], ["--num-hashes", "4"])}
        self.assertEqual(len(scores), 2)
        for more in (["--strict"], ["--no-lm-bias"]):
            self.fails(2, "eval", "-m", judge, table, *more, says=[more[0]])
        self.fails(2, "eval", "-m", judge, table, "--attention", "fast", says=["fast", "full"])


if __name__ == "__main__":
    main()
