#!/usr/bin/env python3
"""Longformers as users of the program meet them: made, converted from other models, verified.

usage: longformer_test.py PROGRAM [unittest options]
"""
import json
import math
import os
import pickle
import resource
import struct
import zipfile

from support import ROOT, Case, main, run


class Longformer(Case):
    def setUp(self):
        super().setUp()
        self.model = self.dir / "long"
        self.made = self.ok("init", "--arch", "longformer", "--preset", "tiny", "-o", self.model)

    def test_init_and_info(self):
        self.assertIn("longformer", self.made)
        info = json.loads(self.ok("info", self.model, "--json", "--tensors"))
        self.assertEqual(info["architecture"], "LongformerForMaskedLM")
        self.assertEqual(info["windows"], [32, 32])
        self.assertEqual(info["attention_window"], [64, 64])
        self.assertEqual(info["positions"]["positions"], 1024)
        names = {t["name"] for t in info["tensors"]}
        self.assertIn("longformer.encoder.layer.1.attention.self.value_global.bias", names)
        size = sum(math.prod(t["shape"]) for t in info["tensors"])
        self.assertEqual(info["parameters"], size)
        text = self.ok("info", self.model)
        self.assertIn("32 to each side (attention_window 64)", text)
        self.assertIn("1024 positions", text)
        again = self.dir / "again"
        self.ok("init", "--config", self.model / "config.json", "-o", again)
        self.assertEqual((again / "model.safetensors").read_bytes(),
                         (self.model / "model.safetensors").read_bytes())
        self.fails(2, "init", "--arch", "lstm", "-o", self.dir / "x", says=["lstm", "longformer"])
        self.fails(3, "generate", "-m", self.model, "-p", "a", says=["LongformerForMaskedLM"])

    def test_an_untied_decoder(self):
        config = json.loads((self.model / "config.json").read_text())
        config.update(tie_word_embeddings=False, hidden_act="mish", vocab_size=500)
        (self.dir / "config.json").write_text(json.dumps(config))
        untied = self.dir / "untied"
        self.ok("init", "--config", self.dir / "config.json", "-o", untied)
        info = json.loads(self.ok("info", untied, "--json", "--tensors"))
        names = {t["name"] for t in info["tensors"]}
        self.assertLessEqual({"lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"},
                             names)
        config["hidden_act"] = "prelu"
        (self.dir / "config.json").write_text(json.dumps(config))
        self.fails(3, "init", "--config", self.dir / "config.json", "-o", self.dir / "x",
                   says=["prelu", "parameters of its own"])

    def test_verify(self):
        for name in ("longformer-mlm", "longformer-qa"):
            folder = ROOT / "golden" / name
            case = folder / "case.safetensors"
            report = json.loads(self.ok("verify", folder, "--case", case, "--json"))
            self.assertTrue(report["ok"])
            self.assertIn("the case holds", self.ok("verify", folder, "--case", case))
        # What the original recorded as NaN is named, and is no part of what holds.
        text = self.ok("verify", ROOT / "golden" / "longformer-mlm", "--case",
                       ROOT / "golden" / "longformer-mlm" / "case.safetensors")
        self.assertIn("in 31 of them the original recorded NaN or infinity", text)
        self.fails(3, "verify", self.model, "--case",
                   ROOT / "golden" / "longformer-qa" / "case.safetensors")

    def test_every_form_of_weights_is_the_same_model(self):
        case = ROOT / "golden" / "longformer-mlm" / "case.safetensors"
        for form in ("format-bin-zip", "format-bin-legacy", "format-safetensors-sharded"):
            result = json.loads(self.ok("verify", ROOT / "golden" / form, "--case", case, "--json"))
            self.assertTrue(result["ok"], form)
            self.assertGreater(len(result["tensors"]), 60)

    def test_verify_names_what_differs(self):
        folder = ROOT / "golden" / "longformer-qa"
        data = bytearray((folder / "model.safetensors").read_bytes())
        (size,) = struct.unpack_from("<Q", data)
        begin, end = json.loads(data[8:8 + size])["qa_outputs.weight"]["data_offsets"]
        for at in range(8 + size + begin, 8 + size + end, 4):
            struct.pack_into("<f", data, at, struct.unpack_from("<f", data, at)[0] * 1.01)
        bad = self.dir / "bad"
        bad.mkdir()
        (bad / "model.safetensors").write_bytes(data)
        (bad / "config.json").write_bytes((folder / "config.json").read_bytes())
        result = run("verify", bad, "--case", folder / "case.safetensors")
        self.assertEqual(result.returncode, 1)
        differ = [line.split()[0] for line in result.stdout.splitlines() if "DIFFERS" in line]
        self.assertIn("start_logits", differ)
        self.assertIn("end_logits", differ)
        self.assertNotIn("hidden_states.2", differ)


class LongformerPlan(Case):
    def test_a_step_is_rehearsed(self):
        plan = json.loads(self.ok("plan", "--arch", "longformer", "--preset", "tiny", "--tokens",
                                  "512", "--json"))
        kept, again = plan["steps"]
        self.assertEqual((kept["attention"], again["attention"]), ("window", "recompute"))
        self.assertLess(again["bytes"]["scratch"], kept["bytes"]["scratch"])
        self.assertEqual(kept["gflop"], again["gflop"])
        model = self.dir / "long"
        self.ok("init", "--arch", "longformer", "--preset", "tiny", "-o", model)
        longest = json.loads(self.ok("plan", "-m", model, "--memory", "600M", "--any-length",
                                     "--trial", "0", "--json"))
        kept, again = longest["steps"]
        self.assertLess(kept["tokens"], again["tokens"])
        self.assertLessEqual(again["bytes"]["total"], 600 << 20)
        within = json.loads(self.ok("plan", "-m", model, "--memory", "600M", "--trial", "0", "--json"))
        self.assertEqual([(s["tokens"], s["limited_by"]) for s in within["steps"]],
                         [(1024, "positions")] * 2)
        self.fails(2, "plan", "--arch", "lstm", "--preset", "tiny", says=["lstm"])


def write_safetensors(path, tensors):
    """fp32 tensors {name: (shape, first value)}; element i has the first value + i / 1024."""
    header, data = {}, b""
    for name, (shape, first) in sorted(tensors.items()):
        values = [first + i / 1024 for i in range(math.prod(shape))]
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Convert(Case):
    BIN = ROOT / "golden" / "format-bin-zip"

    def bert(self):
        """A BERT of one layer."""
        folder = self.dir / "bert"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({
            "model_type": "bert", "architectures": ["BertModel"], "hidden_size": 4,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6,
            "vocab_size": 9, "max_position_embeddings": 5}))
        shapes = {f"embeddings.{n}_embeddings.weight": [rows, 4] for n, rows in (
            ("word", 9), ("position", 5), ("token_type", 2))}
        linear = {"attention.self.query": (4, 4), "attention.self.key": (4, 4),
                  "attention.self.value": (4, 4), "attention.output.dense": (4, 4),
                  "intermediate.dense": (6, 4), "output.dense": (4, 6)}
        norms = ["embeddings.LayerNorm"]
        for name, shape in linear.items():
            shapes[f"encoder.layer.0.{name}.weight"] = list(shape)
            shapes[f"encoder.layer.0.{name}.bias"] = [shape[0]]
        norms += [f"encoder.layer.0.{n}.LayerNorm" for n in ("attention.output", "output")]
        for name in norms:
            shapes[name + ".weight"] = shapes[name + ".bias"] = [4]
        write_safetensors(folder / "model.safetensors",
                          {name: (shape, float(i)) for i, (name, shape) in enumerate(shapes.items())})
        (folder / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\na\n")
        return folder

    def test_to_longformer(self):
        text = self.ok("convert", self.bert(), self.dir / "long", "--to", "longformer", "--max-pos",
                       "16", "--window", "3")
        self.assertIn("BertModel for 5 tokens is now LongformerModel for 16", text)
        config = json.loads((self.dir / "long" / "config.json").read_text())
        self.assertEqual((config["attention_window"], config["max_position_embeddings"],
                          config["sep_token_id"]), ([6], 17, 2))
        report = json.loads(self.ok("convert", self.dir / "bert", self.dir / "again", "--to",
                                    "longformer", "--max-pos", "16", "--window", "3", "--json"))
        self.assertEqual((report["max_tokens"], report["old_max_tokens"], report["shards"]),
                         (16, 5, 1))
        for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
            self.assertEqual((self.dir / "again" / name).read_bytes(),
                             (self.dir / "long" / name).read_bytes())

    def test_forms(self):
        self.assertIn("5 shards", self.ok("convert", self.BIN, self.dir / "shards",
                                          "--max-shard-size", "100KB"))
        self.ok("convert", self.dir / "shards", self.dir / "one")
        self.ok("convert", self.BIN, self.dir / "direct")
        self.assertEqual((self.dir / "one" / "model.safetensors").read_bytes(),
                         (self.dir / "direct" / "model.safetensors").read_bytes())
        self.assertFalse((self.dir / "one" / "model.safetensors.index.json").exists())

    def test_refusals(self):
        out = self.dir / "out"
        before = sorted(self.dir.iterdir())
        self.fails(4, "convert", self.dir / "none", out, says=["none"])
        self.fails(2, "convert", self.BIN, self.start, says=["there already"])
        self.fails(3, "convert", self.start, out, "--to", "longformer", says=["reformer"])
        self.fails(2, "convert", self.BIN, out, "--to", "led")
        self.fails(2, "convert", self.BIN, out, "--max-pos", "9")
        self.fails(2, "convert", self.BIN, out, "--max-shard-size", "many")
        self.fails(2, "convert", self.BIN, out, "--max-shard-size", "0", says=["0 bytes"])
        self.assertEqual(sorted(self.dir.iterdir()), before)

    def test_a_pickle_runs_nothing(self):
        bad, marker = self.dir / "bad", self.dir / "marker"
        bad.mkdir()

        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {marker}",)

        with zipfile.ZipFile(bad / "pytorch_model.bin", "w") as archive:
            archive.writestr("m/data.pkl", pickle.dumps({"a": Evil()}, protocol=2))
        self.fails(3, "convert", bad, self.dir / "out", says=["posix.system not allowed"])
        (bad / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(), protocol=2))
        self.fails(3, "convert", bad, self.dir / "out", says=["pickle of another kind"])
        self.assertFalse(marker.exists() or (self.dir / "out").exists())

    def test_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        self.fails(4, "convert", self.BIN, self.dir / "out", preexec_fn=limit, says=["write"])
        self.assertEqual([p.name for p in self.dir.iterdir() if "tmp" in p.name or "out" in p.name],
                         [])


if __name__ == "__main__":
    main()
