#!/usr/bin/env python3
"""Texts as vectors: `embed`, folders of sentence-transformers, and the files that it writes.

usage: embed_test.py PROGRAM [unittest options]
"""
import csv
import json
import math
import signal
import struct
import subprocess
import time

import support
from support import SENTENCES, Case, main, run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "the", "letter", "was", "written",
         "by", "anne", "captain", "frederick", "to", "sea", "she", "he", "went", "saw", "a", "ship",
         "lady", "house", "very", "old", "who", "in", "?"]


def subprocess_bytes(*arguments):
    """What the program writes on stdout, as it is."""
    return subprocess.run([support.PROGRAM, *map(str, arguments)], capture_output=True, timeout=300,
                          check=True).stdout


class Embed(Case):
    """A Longformer over a WordPiece vocabulary, 30 tokens at most."""

    def model(self):
        return self.word_model("bare", "Model", WORDS)

    def vectors(self, *arguments, **options):
        """The vectors that `embed` prints as JSON lines."""
        lines = self.ok("embed", *arguments, **options).splitlines()
        return [json.loads(line)["embedding"] for line in lines]

    def test_embed(self):
        model, texts = self.model(), self.sentences()
        lines = [json.loads(x) for x in self.ok("embed", "-m", model, texts).splitlines()]
        self.assertEqual(len(lines), len(SENTENCES))
        self.assertTrue(lines[1]["input"].endswith("1.txt"))
        unit = json.loads(self.ok("embed", "-m", model, "--text", "anne", "--normalize"))
        self.assertAlmostEqual(math.sqrt(sum(x * x for x in unit["embedding"])), 1.0, places=6)
        report = json.loads(self.ok("embed", "-m", model, "--text", "anne", "--json"))
        self.assertEqual(report["task"], "embed")
        # What a folder of sentence-transformers says.
        self.sentence_folder(model, {"word_embedding_dimension": 16, "pooling_mode_cls_token": True,
                                     "pooling_mode_mean_tokens": False})
        self.assertEqual(self.ok("embed", "-m", model, texts),
                         self.ok("embed", "-m", model, texts, "--pooling", "cls"))
        self.assertNotEqual(self.ok("embed", "-m", model, texts),
                            self.ok("embed", "-m", model, texts, "--pooling", "mean"))
        self.fails(2, "embed", "-m", model, texts, "--pooling", "median", says=["median", "mean"])

    def sentence_folder(self, model, pooling, *modules, **prompts):
        """Makes a model one of sentence-transformers. Modules: a type and a folder's path each."""
        (model / "pool").mkdir(exist_ok=True)
        (model / "pool" / "config.json").write_text(json.dumps(pooling))
        types = [("base.modules.transformer.Transformer", ""), ("models.Pooling", "pool"), *modules]
        (model / "modules.json").write_text(json.dumps(
            [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers." + kind}
             for i, (kind, path) in enumerate(types)]))
        if prompts:
            (model / "config_sentence_transformers.json").write_text(json.dumps(prompts))

    def test_embed_poolings_of_every_age(self):
        model, text = self.model(), ["--text", SENTENCES[0]]
        one = {way: self.vectors("-m", model, *text, "--pooling", way)[0] for way in ("cls", "max")}
        for pooling, expected in (
                ({"embedding_dimension": 16, "pooling_mode": "cls"}, one["cls"]),
                ({"embedding_dimension": 16, "pooling_mode": ["cls", "max"]}, one["cls"] + one["max"]),
                ({"embedding_dimension": 16, "pooling_mode": ["max", "cls"]}, one["max"] + one["cls"]),
                ({"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True,
                  "pooling_mode_mean_tokens": False}, one["cls"] + one["max"])):
            self.sentence_folder(model, pooling)
            self.assertEqual(self.vectors("-m", model, *text)[0], expected)
        self.sentence_folder(model, {"embedding_dimension": 768, "pooling_mode": "mean"})
        self.fails(3, "embed", "-m", model, *text, says=["embedding_dimension 768", "16"])
        self.sentence_folder(model, {"pooling_mode": "median"})
        self.fails(3, "embed", "-m", model, *text, says=["median", "lasttoken"])
        self.sentence_folder(model, {}, ("models.CNN", "2_CNN"))
        self.fails(3, "embed", "-m", model, *text, says=["models.CNN", "not known"])

    def test_embed_prompts(self):
        model, text = self.model(), ["--text", SENTENCES[0]]
        with_the = self.vectors("-m", model, "--text", "the old " + SENTENCES[0])
        with_she = self.vectors("-m", model, "--text", "she " + SENTENCES[0])
        plain = self.vectors("-m", model, *text)
        self.sentence_folder(model, {}, prompts={"passage": "the old ", "query": "she "},
                             default_prompt_name="passage")
        result = run("embed", "-m", model, *text, "--text", "x", "--text", "y")
        self.assertEqual(result.stderr.count("prompt 'passage' stands before every text: \"the old \""),
                         1)
        self.assertEqual(self.vectors("-m", model, *text), with_the)
        self.assertEqual(self.vectors("-m", model, *text, "--prompt-name", "query"), with_she)
        self.assertEqual(self.vectors("-m", model, *text, "--prompt", "she "), with_she)
        for none in (["--no-prompt"], ["--prompt", ""]):
            self.assertEqual(self.vectors("-m", model, *text, *none), plain)
        self.assertEqual(run("embed", "-m", model, *text, "-q").stderr, "")
        self.fails(2, "embed", "-m", model, *text, "--prompt-name", "title",
                   says=["title", "passage, query"])
        self.fails(2, "embed", "-m", model, *text, "--prompt-name", "", says=["prompt-name"])
        self.fails(2, "embed", "-m", model, *text, "--no-prompt", "--prompt", "x")
        # Left out of the mean: what follows it counts, and the last special token.
        self.sentence_folder(model, {"include_prompt": False, "pooling_mode": "cls"})
        self.assertNotEqual(self.vectors("-m", model, *text), with_the)
        self.assertEqual(self.vectors("-m", model, *text, "--no-prompt"),
                         self.vectors("-m", model, *text, "--no-prompt", "--pooling", "cls"))
        # Upper case is none.
        (model / "sentence_roberta_config.json").write_text('{"do_lower_case": true}')
        self.assertEqual(self.vectors("-m", model, "--text", SENTENCES[0].upper()),
                         self.vectors("-m", model, *text))
        (model / "sentence_roberta_config.json").write_text('{"max_seq_length": 8}')
        self.assertIn("longer than 8 tokens", run("embed", "-m", model, *text).stderr)

    def test_embed_modules_behind_the_pooling(self):
        model, text = self.model(), ["--text", SENTENCES[0]]
        (plain,) = self.vectors("-m", model, *text)
        weight = [[math.sin(16 * n + k) for k in range(16)] for n in range(3)]
        dense = model / "2_Dense"
        dense.mkdir()
        (dense / "config.json").write_text(json.dumps(
            {"in_features": 16, "out_features": 3, "bias": False,
             "activation_function": "torch.nn.modules.activation.Tanh"}))
        header = json.dumps({"linear.weight": {"dtype": "F32", "shape": [3, 16],
                                               "data_offsets": [0, 192]}}).encode()
        header += b" " * (-len(header) % 8)
        (dense / "model.safetensors").write_bytes(
            struct.pack("<Q", len(header)) + header + struct.pack("<48f", *sum(weight, [])))
        self.sentence_folder(model, {}, ("models.Dense", "2_Dense"),
                             ("models.Normalize.Normalize", "3_Normalize"))
        expected = [math.tanh(sum(w * x for w, x in zip(row, plain))) for row in weight]
        (got,) = self.vectors("-m", model, *text, "--no-normalize")
        (unit,) = self.vectors("-m", model, *text)
        length = math.sqrt(sum(x * x for x in expected))
        for a, b, c in zip(got, expected, unit):
            self.assertAlmostEqual(a, b, places=5)
            self.assertAlmostEqual(c, b / length, places=5)
        self.sentence_folder(model, {"pooling_mode": ["cls", "max"]}, ("models.Dense", "2_Dense"))
        self.fails(3, "embed", "-m", model, *text, says=["in_features 16", "32"])

    def test_embed_truncated_vectors(self):
        """The first numbers stay, and a vector that is to have length 1 has it after the cut."""
        model, text = self.model(), ["--text", SENTENCES[0]]
        (plain,) = self.vectors("-m", model, *text)
        (cut,) = self.vectors("-m", model, *text, "--truncate-dim", 5)
        self.assertEqual(cut, plain[:5])
        length = math.sqrt(sum(x * x for x in plain[:5]))
        for folder in (None, 5, 7, 99):  # what the folder says: the option wins
            if folder is not None:
                self.sentence_folder(model, {}, ("models.Normalize", ""), truncate_dim=folder)
            normalize = ["--normalize"] if folder is None else []
            (unit,) = self.vectors("-m", model, *text, *normalize, "--truncate-dim", 5)
            self.assertEqual(len(unit), 5)
            for a, b in zip(unit, plain):
                self.assertAlmostEqual(a, b / length, places=6)
        (whole,) = self.vectors("-m", model, *text)  # the folder says 99, a vector has 16
        self.assertEqual(len(whole), 16)
        self.sentence_folder(model, {}, ("models.Normalize", ""), truncate_dim=7)
        self.assertEqual(self.vectors("-m", model, *text, "--no-normalize"), [plain[:7]])
        for dim in (0, -1, "x"):
            self.fails(2, "embed", "-m", model, *text, "--truncate-dim", dim, says=["truncate-dim"])
        self.fails(2, "embed", "-m", model, *text, "--truncate-dim", 17,
                   says=["truncate-dim: 17 is not in [1, 16]"])
        for wrong in (0, "7", 2.5):
            self.sentence_folder(model, {}, truncate_dim=wrong)
            self.fails(3, "embed", "-m", model, *text, says=["truncate_dim"])

    def test_embed_files(self):
        model = self.model()
        lines = self.dir / "in.jsonl"
        lines.write_text("".join(json.dumps({"text": s, "id": f'{i},"x"'}) + "\n"
                                 for i, s in enumerate(SENTENCES)))
        expected = self.vectors("-m", model, lines)
        names = [f"{lines}:{i + 1}" for i in range(5)]
        ids = [f'{i},"x"' for i in range(5)]

        def near(rows):
            self.assertEqual(len(rows), 5)
            for row, wanted in zip(rows, expected):
                self.assertEqual(len(row), 16)
                for a, b in zip(row, wanted):
                    self.assertAlmostEqual(float(a), b, places=6)

        def write(name, *more):
            self.assertEqual(self.ok("embed", "-m", model, lines, "-o", self.dir / name, *more), "")
            return self.dir / name

        data = write("v.npy").read_bytes()
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        (size,) = struct.unpack_from("<H", data, 8)
        self.assertEqual((10 + size) % 64, 0)
        self.assertIn("'shape': (5, 16)", data[10:10 + size].decode())
        values = struct.unpack_from("<80f", data, 10 + size)
        near([values[16 * i:16 * i + 16] for i in range(5)])
        rows = [json.loads(x) for x in (self.dir / "v.ids.jsonl").read_text().splitlines()]
        self.assertEqual(rows, [{"row": i, "input": names[i], "id": ids[i]} for i in range(5)])
        result = subprocess_bytes("embed", "-m", model, lines, "--output-format", "npy")
        self.assertEqual(result, data)
        for name, separator in (("v.csv", ","), ("v.TSV", "\t")):
            with open(write(name), newline="") as file:
                table = list(csv.reader(file, delimiter=separator))
            self.assertEqual(table[0], ["input", "id"] + [f"e{c}" for c in range(16)])
            self.assertEqual([row[:2] for row in table[1:]], [list(x) for x in zip(names, ids)])
            near([row[2:] for row in table[1:]])
        near([line.split(" ") for line in write("v.txt").read_text().splitlines()])
        self.assertEqual(write("v.jsonl").read_text(), self.ok("embed", "-m", model, lines))
        self.assertEqual(write("v.json").read_text(), self.ok("embed", "-m", model, lines, "--json"))
        self.assertEqual(write("w.json", "--json").read_text(), (self.dir / "v.json").read_text())
        self.assertEqual(write("odd.name", "--output-format", "text").read_text(),
                         (self.dir / "v.txt").read_text())
        # Texts without an id: no such column.
        self.ok("embed", "-m", model, "--text", "a", "-o", self.dir / "plain.csv")
        self.assertTrue((self.dir / "plain.csv").read_text().startswith("input,e0,e1,"))

    def test_embed_files_that_cannot_be(self):
        model, texts = self.model(), self.sentences()
        self.fails(2, "embed", "-m", model, texts, "--output-format", "xml", says=["xml", "jsonl"])
        self.fails(2, "embed", "-m", model, texts, "-o", "", says=["--output", "empty"])
        for name in ("v.xml", "vectors"):
            self.fails(2, "embed", "-m", model, texts, "-o", name, says=[f"'{name}'", ".npy", ".csv"])
        self.fails(2, "embed", "-m", model, texts, "--json", "-o", "v.npy", "--output-format", "npy",
                   says=["--json", "npy"])
        self.fails(4, "embed", "-m", model, texts, "-o", self.dir / "none" / "v.npy", says=["none"])
        # An error on the way: neither file, and what was there before is still there.
        (self.dir / "v.npy").write_text("before")
        (self.dir / "v.ids.jsonl").write_text("before")
        (self.dir / "bad.txt").write_bytes(b"a\0b")
        run("embed", "-m", model, "--lines", self.dir / "bad.txt", "-o", self.dir / "w.npy")
        self.fails(5, "embed", "-m", model, "--text", " ".join(SENTENCES), "--overflow", "error",
                   "-o", self.dir / "v.npy")
        self.assertEqual((self.dir / "v.npy").read_text() + (self.dir / "v.ids.jsonl").read_text(),
                         "beforebefore")
        self.assertEqual([x.name for x in self.dir.iterdir() if "tmp" in x.name], [])

    def test_embed_never_writes_over_what_it_reads(self):
        model, texts = self.model(), self.sentences()
        rows = self.dir / "rows.jsonl"
        rows.write_text('{"text": "Anne saw the ship."}\n')
        whole = rows.read_text()
        (self.dir / "link.jsonl").symlink_to(rows)
        (self.dir / "hard.jsonl").hardlink_to(rows)
        for out in ("rows.jsonl", "link.jsonl", "hard.jsonl", "./texts/../rows.jsonl"):
            self.fails(2, "embed", "-m", model, rows, "-o", self.dir / out, says=["one of the files that are read"])
        with open(rows, encoding="utf-8") as stdin:
            self.fails(2, "embed", "-m", model, "-", "--format", "jsonl", "-o", rows, stdin=stdin)
        # Nor the model, whose files are read too.
        config = (model / "config.json").read_bytes()
        for command in ("embed", "fill-mask"):
            self.fails(2, command, "-m", model, rows, "-o", model / "config.json", "--output-format", "jsonl",
                       says=["is in the model's folder"])
        self.assertEqual((model / "config.json").read_bytes(), config)
        self.fails(2, "embed", "-m", model, texts, "-o", texts / "1.txt", says=["1.txt"])
        ids = self.dir / "v.ids.jsonl"
        ids.write_text(whole)
        self.fails(2, "embed", "-m", model, ids, "-o", self.dir / "v.npy", says=["v.ids.jsonl"])
        self.assertEqual((rows.read_text(), ids.read_text()), (whole, whole))
        self.assertFalse((self.dir / "v.npy").exists())
        self.ok("embed", "-m", model, rows, "-o", self.dir / "v.jsonl")
        self.ok("embed", "-m", model, rows, "-o", self.dir / "v.jsonl")  # what stood there is no input

    def test_embed_json_wins_over_the_name(self):
        model = self.model()
        for name in ("x.json", "x", "x.out", "x.npy", "x.jsonl"):
            self.ok("embed", "-m", model, "--text", "anne", "--json", "-o", self.dir / name)
            self.assertEqual(json.loads((self.dir / name).read_text())["task"], "embed")

    def test_embed_ids_come_back_as_they_stood(self):
        model = self.model()
        rows = self.dir / "rows.jsonl"
        numbers = ["7", "18446744073709551616", "-123456789012345678901234567890", '[1, 99999999999999999999]']
        rows.write_text("".join(f'{{"id": {n}, "text": "anne saw"}}\n' for n in numbers))
        found = self.ok("embed", "-m", model, rows).splitlines()
        for line, number in zip(found, numbers):
            self.assertIn(f'"id":{number.replace(" ", "")},', line)
        self.assertIn('"id": 18446744073709551616,', self.ok("embed", "-m", model, rows, "--json"))
        self.ok("embed", "-m", model, rows, "-o", self.dir / "v.csv")
        with open(self.dir / "v.csv", newline="", encoding="utf-8") as file:
            self.assertEqual([r[1] for r in csv.reader(file)][1:], [n.replace(" ", "") for n in numbers])
        self.ok("embed", "-m", model, rows, "-o", self.dir / "v.npy")
        self.assertIn('"id":-123456789012345678901234567890}', (self.dir / "v.ids.jsonl").read_text())

    def test_embed_stopped_leaves_nothing(self):
        model = self.model()
        many = self.dir / "many.txt"
        many.write_text((SENTENCES[0] + "\n") * 200000)
        process = subprocess.Popen([support.PROGRAM, "embed", "-m", model, "--lines", many, "-o",
                                    self.dir / "many.npy"], stderr=subprocess.PIPE)
        while not any(".longspan-tmp" in x.name for x in self.dir.iterdir()):
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT, told)
        self.assertIn(b"no file is left half written", told)
        self.assertEqual([x.name for x in self.dir.iterdir() if "many" in x.name or "tmp" in x.name],
                         ["many.txt"])


if __name__ == "__main__":
    main()
