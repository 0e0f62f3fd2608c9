#!/usr/bin/env python3
"""Folders of models as people have them: what opens, and what is said of what does not.

usage: folders_test.py PROGRAM [unittest options]
"""
import json
import shutil
import struct
from pathlib import Path

from support import ROOT, Case, main, run

BERT = ROOT / "golden" / "bert-mlm"

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "anne", "saw", "the", "sea"]
TEXT = "anne saw the [MASK]."
HEADS = {"masked": "MaskedLM", "sequence": "SequenceClassification", "token": "TokenClassification",
         "question": "QuestionAnswering", "choice": "MultipleChoice"}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
FOREIGN = {"gpt2": ("gpt2", "GPT2LMHeadModel"), "t5": ("t5", "T5ForConditionalGeneration")}


def read_tensors(path):
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:
                                                8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


def write_tensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, bits) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


class Folders(Case):
    def model(self, kind, **fields):
        """A Longformer over ten words; also the field `name`, of the folder."""
        folder = self.dir / fields.pop("name", kind)
        head = HEADS.get(kind)
        config = {"model_type": "longformer",
                  "architectures": [f"LongformerFor{head}" if head else "LongformerModel"],
                  "attention_window": [4], "vocab_size": len(WORDS), "hidden_size": 8,
                  "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
                  "max_position_embeddings": 21, "type_vocab_size": 2, "pad_token_id": 0,
                  "bos_token_id": None, "eos_token_id": None, "sep_token_id": 3,
                  "initializer_range": 0.3, **fields}
        source = self.dir / "source.json"
        source.write_text(json.dumps(config))
        self.ok("init", "--config", source, "-o", folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        return folder

    def change(self, folder, drop=(), **fields):
        """config.json with fields set and others taken away."""
        path = folder / "config.json"
        config = json.loads(path.read_text())
        for name in drop:
            config.pop(name, None)
        config.update(fields)
        path.write_text(json.dumps(config))

    def rename(self, folder, new_name):
        path = folder / "model.safetensors"
        write_tensors(path, {new_name(n): t for n, t in read_tensors(path).items()})

    def same(self, command, folders, *more):
        """The command's output is the same for all folders; returns what each says on stderr."""
        results = [run(command, "-m", folder, *more, "--json") for folder in folders]
        answers = []
        for result in results:
            self.assertEqual(result.returncode, 0, result.stderr)
            answer = json.loads(result.stdout)
            answers.append(answer["results"])
        for answer in answers[1:]:
            self.assertEqual(answer, answers[0])
        return [r.stderr for r in results]

    # ---- what config.json leaves open -----------------------------------------------------------

    def test_the_weights_say_which_head_it_is(self):
        plain, other = self.model("masked"), self.model("masked", name="other")
        for drop, fields in ((["architectures"], {}), ([], {"architectures": []}),
                             ([], {"architectures": ["LongformerModel", "LongformerForMaskedLM"]}),
                             (["id2label", "label2id"], {"architectures": None})):
            self.change(other, drop, **fields)
            self.same("fill-mask", [plain, other], "--text", TEXT)
        self.fails(3, "classify", "-m", other, "--text", "anne",
                   says=["is a LongformerForMaskedLM, which is for fill-mask, not for classify",
                         "LongformerForSequenceClassification", "longspan train classify"])
        self.change(other, architectures=["LongformerForSequenceClassification"])
        self.fails(3, "classify", "-m", other, "--text", "anne", says=["config.json"])

    def test_labels(self):
        def labels(folder):
            (result,) = json.loads(self.ok("classify", "-m", folder, "--text", "anne saw",
                                           "--json"))["results"]
            return {x["label"] for x in result["labels"]}
        folder = self.model("sequence", id2label={"0": "a", "1": "b"})
        cases = [({"id2label": {"0": 0, "1": 1}}, {"0", "1"}), ({"id2label": ["x", "y"]}, {"x", "y"}),
                 ({"id2label": {"00": "x", "01": "y"}}, {"x", "y"}),
                 ({"id2label": None, "label2id": {"p": 0, "q": 1}}, {"p", "q"}),
                 ({"id2label": {"1": "y"}}, {"LABEL_0", "y"}),
                 ({"id2label": {"0": "x", "1": "y"}, "num_labels": 7}, {"x", "y"}),
                 ({"num_labels": 2, "id2label": None, "label2id": None}, {"LABEL_0", "LABEL_1"})]
        for i, (fields, right) in enumerate(cases):
            self.change(folder, ["num_labels"], **fields)
            self.assertEqual(labels(folder), right)
            again = self.dir / f"again{i}"
            self.ok("convert", folder, again)
            self.assertEqual(labels(again), right)
            config = json.loads((again / "config.json").read_text())
            self.assertEqual(set(config["id2label"].values()), right)
            self.assertEqual(run("classify", "-m", again, "--text", "anne").stderr.count("warning"), 0)
        self.change(folder, ["num_labels", "label2id"], id2label={"1": "y"})
        result = run("classify", "-m", folder, "--text", "anne")
        self.assertIn("no name for class 0; named LABEL_k", result.stderr)
        self.assertIn("no name for class 0", self.ok("info", folder))
        self.change(folder, id2label={"one": "y"})
        self.fails(3, "classify", "-m", folder, "--text", "anne", says=["id2label has the id 'one'"])

    # ---- weights --------------------------------------------------------------------------------

    def test_prefixes(self):
        plain = self.model("masked")
        for prefix in ("model.", "module.", "_orig_mod.", "encoder."):
            other = self.dir / ("p" + prefix)
            shutil.copytree(plain, other)
            self.rename(other, lambda n: prefix + n)
            told = self.same("fill-mask", [plain, other], "--text", TEXT)
            warnings = [json.loads(line).get("warning", "") for line in told[1].splitlines()]
            self.assertIn(f'all names begin with "{prefix}"', warnings[0])
            self.assertIn(f'note          {other}', self.ok("info", other))
            self.ok("convert", other, self.dir / ("c" + prefix))
            self.assertEqual(set(read_tensors(self.dir / ("c" + prefix) / "model.safetensors")),
                             set(read_tensors(plain / "model.safetensors")))
        bare, other = self.model("bare"), self.dir / "with"
        shutil.copytree(bare, other)
        self.rename(other, lambda n: "longformer." + n.removeprefix("longformer."))
        without = self.dir / "without"
        shutil.copytree(bare, without)
        self.rename(without, lambda n: n.removeprefix("longformer."))
        vectors = [self.ok("embed", "-m", f, "--text", "anne") for f in (bare, other, without)]
        self.assertEqual(vectors[1:], vectors[:1] * 2)

    def test_shards_that_nobody_needs(self):
        plain, other = self.model("masked"), self.dir / "sharded"
        shutil.copytree(plain, other)
        tensors = read_tensors(other / "model.safetensors")
        (other / "model.safetensors").unlink()
        write_tensors(other / "a.safetensors", tensors)
        places = {name: "a.safetensors" for name in tensors}
        index = other / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {**places, "x.y": "gone.safetensors",
                                                    "more": "a.safetensors"}}))
        told = self.same("fill-mask", [plain, other], "--text", TEXT)
        self.assertIn("gone.safetensors is missing", told[1])
        places["lm_head.bias"] = "gone.safetensors"
        write_tensors(other / "a.safetensors",
                      {n: t for n, t in tensors.items() if n != "lm_head.bias"})
        index.write_text(json.dumps({"weight_map": places}))
        self.fails(3, "fill-mask", "-m", other, "--text", TEXT, says=["gone.safetensors is missing"])
        index.write_text(POINTER)
        self.fails(3, "fill-mask", "-m", other, "--text", TEXT, says=["git-LFS pointer"])

    def test_downloads_that_are_something_else(self):
        folder = self.model("masked")
        for name in ("model.safetensors", "config.json"):
            good = (folder / name).read_bytes()
            for bad, says in ((POINTER, "git-LFS pointer"), ("\n<!DOCTYPE html>", "web page"),
                              ("Entry not found", "server's refusal")):
                (folder / name).write_text(bad)
                self.fails(3, "fill-mask", "-m", folder, "--text", TEXT, says=[name, says])
                self.fails(3, "info", folder, says=[name, says])
            (folder / name).write_bytes(good)

    # ---- sentence-transformers ------------------------------------------------------------------

    def test_the_transformer_in_a_folder_of_its_own(self):
        plain = self.model("masked")
        outer = self.dir / "outer"
        shutil.copytree(plain, outer / "0_Transformer")
        (outer / "1_Pooling").mkdir()
        (outer / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
        (outer / "config.json").write_text('{"__version__": "0.2"}')
        (outer / "modules.json").write_text(json.dumps(
            [{"idx": 0, "name": "0", "path": "0_Transformer",
              "type": "sentence_transformers.models.Transformer"},
             {"idx": 1, "name": "1", "path": "1_Pooling",
              "type": "sentence_transformers.models.Pooling"}]))
        self.same("fill-mask", [plain, outer], "--text", TEXT)
        self.assertIn("sentence-transformers", self.ok("info", outer))
        self.assertIn(f"longspan embed -m {outer} FILE", self.ok("info", outer))
        self.ok("tokenize", "-m", outer, "anne")
        self.ok("convert", outer, self.dir / "flat")
        self.same("fill-mask", [plain, self.dir / "flat"], "--text", TEXT)
        self.assertFalse((self.dir / "flat" / "0_Transformer").exists())
        self.assertTrue((self.dir / "flat" / "1_Pooling" / "config.json").exists())
        text = self.dir / "words.txt"
        text.write_text("anne saw the sea.\n\n" * 40)
        self.ok("train", "mlm", "-m", outer, "--train", text, "-o", self.dir / "run", "--steps", "2",
                "--tokens", "16", "--batch", "2", "--progress", "none")
        self.ok("fill-mask", "-m", self.dir / "run", "--text", TEXT)
        modules = json.loads((self.dir / "run" / "modules.json").read_text())
        self.assertEqual([m["path"] for m in modules], ["", "1_Pooling"])

    # ---- what a path is -------------------------------------------------------------------------

    def test_runs_that_have_not_finished(self):
        out = self.dir / "run"
        self.train(out)
        (out / "config.json").unlink()
        (out / "model.safetensors").unlink()
        newest = out / "checkpoint-12"
        line = f"{out}: has not finished: step 12 of 12; newest checkpoint: {newest}; go on with --resume or use"
        for command in (["generate", "-m", out, "-p", "a"], ["eval", "-m", out, self.text],
                        ["embed", "-m", out, "--text", "a"], ["classify", "-m", out, "--text", "a"],
                        ["fill-mask", "-m", out, "--text", "a"], ["plan", "-m", out],
                        ["qa", "-m", out, self.text, "--question", "a"],
                        ["train", "lm", "-m", out, "--train", self.text, "-o", self.dir / "more"],
                        ["convert", out, self.dir / "more"]):
            self.fails(4, *command, says=[line])
        self.assertIn(f"newest checkpoint: {newest}", self.ok("info", out))
        self.assertIn("of step 12", self.ok("info", newest))
        self.ok("generate", "-m", newest, "-p", "a", "--tokens", "3")

    def test_info_of_anything(self):
        def put(name, text):
            path = self.dir / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            return path if "/" not in name else path.parent
        says = {BERT: ["BertForMaskedLM", "full: a token sees its whole text",
                                      f"longspan fill-mask -m {BERT}"],
                put("t/vocab.txt", "[PAD]\n"): ["a tokenizer without a model", "longspan tokenize"],
                put("rows.csv", "text,label\na,b\n"): ["a table", "longspan data stats"],
                put("book.txt", "words\n"): ["a text", "longspan data stats"],
                self.start / "model.safetensors": ["one file of weights", "reformer",
                                                   "language model", "longspan convert"],
                self.start: ["ReformerModelWithLMHead", f"longspan generate -m {self.start} -p TEXT"],
                self.model("masked"): ["LongformerForMaskedLM", "longspan fill-mask -m"],
                self.start / "config.json": ["give the folder"]}
        for name, content, words in (
                ("p.png", b"\x89PNG\r\n\x1a\n\0\0", ["a picture (PNG)"]), ("p", b"\xff\xd8\xff\xe0\0", ["JPEG"]),
                ("p.pdf", b"%PDF-1.7\n", ["a PDF", "pdftotext"]), ("nothing", b"", ["an empty file"]),
                ("a.docx", b"PK\x03\x04\x14\0..[Content_Types].xml", ["a zip archive", "unpack it"]),
                ("wide.txt", "She went".encode("utf-16"), ["a text in UTF-16", "--encoding utf-16"])):
            (self.dir / name).write_bytes(content)
            says[self.dir / name] = words
        for name, (kind, head) in FOREIGN.items():
            folder = put(name + "/config.json", json.dumps({"model_type": kind,
                                                            "architectures": [head]}))
            says[folder] = [f"a {kind} ({head})", "longspan cannot run it"]
            self.fails(3, "generate", "-m", folder, "-p", "a", says=[f"is a {kind} ({head})"])
        for path, words in says.items():
            text = self.ok("info", path)
            for word in words:
                self.assertIn(word, text)
            self.assertIn("next", json.loads(self.ok("info", path, "--json")))
        # A classifier that was trained from a folder of sentence-transformers is one.
        judge = self.model("sequence")
        (judge / "modules.json").write_text("[]")
        text = self.ok("info", judge)
        self.assertIn("longspan classify -m", text)
        self.assertNotIn("made for vectors", text)
        self.assertRegex(text, r"labels +\d+: \S+, \S+")
        (self.dir / "empty").mkdir()
        self.fails(4, "info", self.dir / "empty", says=["is an empty folder", "nothing is downloaded"])
        self.fails(4, "info", self.dir / "none", says=["there is no such folder", "hf download"])

    def test_nothing_is_downloaded(self):
        for more in ([], ["--to", "longformer"]):
            self.fails(4, "convert", "roberta-base", self.dir / "long", *more, cwd=self.dir,
                       says=["roberta-base: there is no such folder or file; nothing is downloaded: "
                             "download the model's files (config.json, weights, tokenizer files) "
                             "into a folder roberta-base"])
        self.fails(4, "embed", "-m", "roberta-base", "--text", "a", cwd=self.dir,
                   says=["nothing is downloaded"])

    def test_convert_opens_what_it_wrote(self):
        folder = self.model("masked")
        self.change(folder, intermediate_size=17)
        self.fails(3, "convert", folder, self.dir / "out",
                   says=["what was converted cannot be opened", str(self.dir / "out")])
        self.assertFalse((self.dir / "out").exists())
        self.change(folder, intermediate_size=16)
        (folder / "vocab.txt").unlink()
        (folder / "tokenizer.json").write_text("{}")
        result = run("convert", folder, self.dir / "out")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("the tokenizer was copied but cannot be opened", result.stderr)

    def test_convert_opens_vectors_as_embed_does(self):
        folder, out = self.model("bare"), self.dir / "out"
        (folder / "modules.json").write_text(json.dumps(
            [{"path": "", "type": "sentence_transformers.models.Transformer"},
             {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
        pooling = self.dir / "elsewhere"
        pooling.mkdir()
        (pooling / "config.json").write_text('{"pooling_mode": "cls"}')
        (folder / "1_Pooling").symlink_to(pooling)
        result = run("convert", folder, out)
        self.assertEqual(result.returncode, 0, result.stderr)
        (line,) = result.stderr.splitlines()
        for word in ("leads out of the folder: 1_Pooling; not copied", "embed cannot use",
                     f"{out}/1_Pooling/config.json: cannot open"):
            self.assertIn(word, line)
        self.fails(4, "embed", "-m", out, "--text", "anne", says=["1_Pooling"])
        (folder / "1_Pooling").unlink()
        shutil.copytree(pooling, folder / "1_Pooling")
        result = run("convert", folder, self.dir / "whole")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.ok("embed", "-m", folder, "--text", "anne saw"),
                         self.ok("embed", "-m", self.dir / "whole", "--text", "anne saw"))
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "best"}')
        self.assertIn("embed cannot use what was converted", run("convert", folder, self.dir / "odd").stderr)


if __name__ == "__main__":
    main()
