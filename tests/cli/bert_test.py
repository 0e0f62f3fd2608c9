#!/usr/bin/env python3
"""BERTs and RoBERTas as users of the program meet them: as they are, without convert.

usage: bert_test.py PROGRAM [unittest options]
"""
import json
import shutil

from support import ROOT, Case, main, run

GOLDEN = ROOT / "golden"
TOKENIZERS = ROOT / "tests" / "tokenizers"
SIZE = ("--layers", "2", "--width", "16", "--heads", "2")


class Berts(Case):
    def make(self, arch, tokenizer, *more):
        folder = self.dir / arch
        self.ok("init", "--arch", arch, "--preset", "tiny", *SIZE, "--tokenizer",
                TOKENIZERS / tokenizer, *more, "-o", folder)
        return folder

    def json_of(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def test_init_and_info(self):
        model = self.make("roberta", "roberta")
        info = self.json_of("info", model, "--tensors")
        self.assertEqual(info["architecture"], "RobertaForMaskedLM")
        self.assertEqual(info["attention"], "full")
        self.assertEqual(info["positions"]["positions"], 512)
        names = {tensor["name"] for tensor in info["tensors"]}
        self.assertIn("roberta.embeddings.word_embeddings.weight", names)
        self.assertNotIn("lm_head.decoder.weight", names)
        self.assertEqual(self.json_of("info", model / "model.safetensors")["family"], "roberta")
        again = self.dir / "again"
        self.ok("init", "--config", model / "config.json", "-o", again)
        self.assertEqual((again / "model.safetensors").read_bytes(),
                         (model / "model.safetensors").read_bytes())
        self.fails(3, "generate", "-m", model, "-p", "a", says=["RobertaForMaskedLM"])
        config = json.loads((model / "config.json").read_text())
        for field, value in (("is_decoder", True), ("position_embedding_type", "relative_key")):
            (model / "config.json").write_text(json.dumps({**config, field: value}))
            self.fails(3, "info", model, says=[field])

    def test_training_and_tasks(self):
        model = self.make("bert", "bert-uncased")
        runs = {}
        for name, parts in (("whole", ["4"]), ("parts", ["2", "4"])):
            for steps in parts:  # in two parts, to the same bits, recomputed or not
                more = ["--resume", "--extend"] if steps != parts[0] else []
                more += ["--recompute"] if name == "whole" else []
                self.ok("train", "mlm", "-m", model, "--train", self.text, "-o", self.dir / name,
                        "--steps", steps, "--tokens", "64", "--packed", "--documents",
                        "blank-line", "--lr", "1e-3", "--save-every", "2", "--schedule",
                        "constant", "--progress", "none", *more)
            runs[name] = (self.dir / name / "model.safetensors").read_bytes()
        self.assertEqual(runs["whole"], runs["parts"])
        guesses = self.json_of("fill-mask", "-m", self.dir / "whole", "--text", "She was [MASK].")
        self.assertEqual(len(guesses["results"][0]["masks"]), 1)
        table = self.dir / "table.csv"
        table.write_text("text,label\n" + "She was happy and smiled,good\nHe wept for hours,bad\n"
                         * 12)
        judge, copy = self.dir / "judge", self.dir / "copy"
        self.ok("train", "classify", "-m", self.dir / "whole", "--train", table, "-o", judge,
                "--epochs", "8", "--lr", "1e-2", "--memory", "1G", "--progress", "none")
        self.assertEqual(json.loads((judge / "config.json").read_text())["architectures"],
                         ["BertForSequenceClassification"])
        result = self.json_of("classify", "-m", judge, "--text", "She was happy and smiled")
        self.assertEqual(result["results"][0]["labels"][0]["label"], "good")
        self.ok("convert", judge, copy, "--max-shard-size", "20KB")
        for more in ([], ["--dtype", "bf16"]):
            self.assertEqual(self.json_of("classify", "-m", copy, table, *more)["results"],
                             self.json_of("classify", "-m", judge, table, *more)["results"])
        plan = self.json_of("plan", "-m", model, "--tokens", "128", "--trial", "0.05")
        self.assertIn("recompute", json.dumps(plan))

    # A text's vector does not depend on the texts beside it, and longer texts are read in windows.
    def test_a_folder_of_sentence_transformers(self):
        model = self.make("xlm-roberta", "roberta", "--head", "none")
        (model / "modules.json").write_text(json.dumps(
            [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
             {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
        (model / "1_Pooling").mkdir()
        (model / "1_Pooling" / "config.json").write_text(json.dumps(
            {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}))
        texts = ["Anne smiled.", "She was happy and smiled at them all.", "He wept."]
        rows = self.dir / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        together = [row["embedding"] for row in self.json_of("embed", "-m", model, rows)["results"]]
        for text, vector in zip(texts, together):
            alone = self.json_of("embed", "-m", model, "--text", text)["results"][0]["embedding"]
            for a, b in zip(alone, vector):
                self.assertAlmostEqual(a, b, delta=1e-5)
        self.assertIn("XLMRobertaModel", self.ok("info", model))
        self.assertNotIn("global", run("embed", "-m", model, self.text).stderr)
        (model / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7}))
        self.assertIn("vectors of texts of at most 7 tokens", self.ok("info", model))
        self.assertEqual(self.json_of("info", model)["sentence_tokens"], 7)

    def test_verify_before_and_after_rewriting(self):
        for name in ("bert-pretraining", "bert-mlm-untied", "roberta-seqcls", "camembert-mlm"):
            folder, rewritten = GOLDEN / name, self.dir / name
            case = folder / "case.safetensors"
            self.assertIn("the case holds", self.ok("verify", folder, "--case", case))
            self.ok("convert", folder, rewritten)
            self.ok("verify", rewritten, "--case", case)
        names = {tensor["name"] for tensor in
                 self.json_of("info", self.dir / "bert-pretraining", "--tensors")["tensors"]}
        self.assertIn("bert.embeddings.LayerNorm.weight", names)
        self.assertFalse({name for name in names if "seq_relationship" in name or "pooler" in name})

    # The pooler and the next-sentence head have no place in a masked LM.
    def test_strict(self):
        self.fails(3, "eval", "--strict-weights", "-m", GOLDEN / "bert-pretraining", self.text,
                   says=["pooler"])

    def test_longformers_are_still_made(self):
        model = self.make("roberta", "roberta")
        long = self.dir / "long"
        self.ok("convert", model, long, "--to", "longformer", "--max-pos", "1024", "--window", "32")
        self.assertEqual(self.json_of("info", long)["architecture"], "LongformerForMaskedLM")
        shutil.rmtree(long)


if __name__ == "__main__":
    main()
