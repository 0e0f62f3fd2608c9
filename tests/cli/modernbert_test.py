#!/usr/bin/env python3
"""ModernBERTs as users of the program meet them: made, trained, asked, converted, verified.

usage: modernbert_test.py PROGRAM [unittest options]
"""
import json

from support import ROOT, Case, main

ROBERTA = ROOT / "tests" / "tokenizers" / "roberta"


class ModernBerts(Case):
    def setUp(self):
        super().setUp()
        self.model = self.dir / "modern"
        self.ok("init", "--arch", "modernbert", "--preset", "tiny", "--tokenizer", ROBERTA, "-o",
                self.model)

    def json_of(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def test_init_and_info(self):
        info = self.json_of("info", self.model, "--tensors")
        self.assertEqual(info["architecture"], "ModernBertForMaskedLM")
        self.assertEqual(info["attention"], ["full", "window", "window", "full"])
        self.assertEqual(info["window"], 64)
        names = {tensor["name"] for tensor in info["tensors"]}
        self.assertIn("model.layers.1.attn_norm.weight", names)
        self.assertNotIn("model.layers.0.attn_norm.weight", names)
        self.assertNotIn("decoder.weight", names)
        self.assertIn("rotary", self.ok("info", self.model))
        self.assertEqual(self.json_of("info", self.model / "model.safetensors")["family"],
                         "modernbert")
        again = self.dir / "again"
        self.ok("init", "--config", self.model / "config.json", "-o", again)
        self.assertEqual((again / "model.safetensors").read_bytes(),
                         (self.model / "model.safetensors").read_bytes())
        self.ok("init", "--arch", "modernbert", "--layers", "2", "--width", "64", "--heads", "2",
                "-o", self.dir / "sized")
        self.fails(2, "init", "--arch", "modernbert", "--width", "30", "--heads", "10", "-o",
                   self.dir / "x", says=["heads of 3 channels", "--heads"])
        self.fails(3, "generate", "-m", self.model, "-p", "a", says=["ModernBertForMaskedLM"])

    def test_rotary_kinds_are_refused(self):
        config = json.loads((self.model / "config.json").read_text())
        config["rope_parameters"]["full_attention"]["rope_type"] = "proportional"
        (self.model / "config.json").write_text(json.dumps(config))
        self.fails(3, "info", self.model, says=["full_attention", "proportional", "yarn"])

    def test_training_and_tasks(self):
        run = self.dir / "run"
        self.ok("train", "mlm", "-m", self.model, "--train", self.text, "-o", run, "--steps", "6",
                "--tokens", "96", "--packed", "--documents", "blank-line", "--lr", "1e-3",
                "--save-every", "3", "--progress", "none")
        again = self.dir / "again"
        for steps in ("3", "6"):  # in two parts, to the same bits
            more = [] if steps == "3" else ["--resume", "--extend"]
            self.ok("train", "mlm", "-m", self.model, "--train", self.text, "-o", again, "--steps",
                    steps, "--tokens", "96", "--packed", "--documents", "blank-line", "--lr",
                    "1e-3", "--save-every", "3", "--schedule", "constant", "--progress", "none",
                    *more)
        whole = self.dir / "whole"
        self.ok("train", "mlm", "-m", self.model, "--train", self.text, "-o", whole, "--steps",
                "6", "--tokens", "96", "--packed", "--documents", "blank-line", "--lr", "1e-3",
                "--save-every", "3", "--schedule", "constant", "--recompute", "--progress", "none")
        self.assertEqual((again / "model.safetensors").read_bytes(),
                         (whole / "model.safetensors").read_bytes())
        losses = {self.json_of("eval", "-m", run, self.text, "--tokens", "512", *more)["loss"]
                  for more in ([], ["--attention", "full"])}
        self.assertEqual(len(losses), 2)
        self.fails(2, "eval", "-m", run, self.text, "--attention", "lsh", says=["lsh", "full"])
        guesses = self.json_of("fill-mask", "-m", run, "--text", "She was <mask> happy.")
        self.assertEqual(len(guesses["results"][0]["masks"]), 1)
        vectors = self.json_of("embed", "-m", run, self.text)
        self.assertEqual(len(vectors["results"][0]["embedding"]), 128)

    def test_classes(self):
        table = self.dir / "table.csv"
        table.write_text("text,label\n" + "She was happy and smiled,good\nHe wept for hours,bad\n"
                         * 12)
        judge = self.dir / "judge"
        self.ok("train", "classify", "-m", self.model, "--train", table, "-o", judge, "--epochs",
                "8", "--lr", "1e-3", "--progress", "none")
        result = self.json_of("classify", "-m", judge, "--text", "She was happy and smiled")
        self.assertEqual(result["results"][0]["labels"][0]["label"], "good")
        copy = self.dir / "copy"
        self.ok("convert", judge, copy, "--max-shard-size", "500KB")
        for more in ([], ["--attention", "full"], ["--dtype", "bf16"]):
            self.assertEqual(self.json_of("classify", "-m", copy, table, *more)["results"],
                             self.json_of("classify", "-m", judge, table, *more)["results"])

    def test_verify(self):
        for name in ("modernbert-mlm", "modernbert-legacy-config"):
            folder = ROOT / "golden" / name
            case = folder / "case.safetensors"
            self.assertIn("the case holds", self.ok("verify", folder, "--case", case))
            rewritten = self.dir / name
            self.ok("convert", folder, rewritten)
            self.ok("verify", rewritten, "--case", case)

    def test_plan(self):
        plan = self.json_of("plan", "-m", self.model, "--tokens", "512", "--trial", "0.05")
        self.assertIn("full", json.dumps(plan))
        self.assertIn("recompute", json.dumps(plan))


if __name__ == "__main__":
    main()
