#!/usr/bin/env python3
"""Hostile folders, sizes and options from outside: what is refused, how, and at what cost.

usage: limits_test.py PROGRAM [unittest options]
"""

import json
import os
import struct

import support
from support import SMALL_RUN, Case, main, run, unless_sanitized

SMALL = {"model_type": "longformer", "architectures": ["LongformerForSequenceClassification"],
         "attention_window": [4, 4], "num_hidden_layers": 2, "hidden_size": 8,
         "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 300,
         "max_position_embeddings": 65, "type_vocab_size": 1, "pad_token_id": 0,
         "bos_token_id": None, "eos_token_id": None, "sep_token_id": 3}


class FolderTest(Case):
    """A small classifier with its words, and a folder that is none of its business."""

    def setUp(self):
        super().setUp()
        (self.dir / "config.json").write_text(json.dumps(SMALL))
        self.model = self.dir / "model"
        self.ok("init", "--config", self.dir / "config.json", "-o", self.model)
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
        (self.model / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
        self.secrets = self.dir / "ssh"
        self.secrets.mkdir()
        (self.secrets / "id_rsa").write_text("secret")

    def add_tensors(self, count):
        """Tensors that no model has a place for."""
        path = self.model / "model.safetensors"
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + length])
        body = data[8 + length:]
        for i in range(count):
            header[f"extra.{i:02}"] = {"dtype": "U8", "shape": [1],
                                       "data_offsets": [len(body), len(body) + 1]}
            body += b"\0"
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + body)


class Links(FolderTest):
    def everything_below(self, folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
                if p.is_file()}

    def hostile(self):
        (self.model / "modules.json").write_text('[{"path": "1_Pooling"}]')
        (self.model / "1_Pooling").symlink_to("../ssh")
        (self.model / "LICENSE.txt").symlink_to(self.secrets / "id_rsa")
        (self.model / "README.md").write_text("words")
        (self.model / "NOTES.md").symlink_to("README.md")

    def test_conversion_leaves_them_behind(self):
        self.hostile()
        result = run("convert", self.model, self.dir / "out")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertIn("2 of its links lead out of the folder: LICENSE.txt, 1_Pooling; not copied",
                      result.stderr)
        found = self.everything_below(self.dir / "out")
        self.assertEqual(found["NOTES.md"], b"words")
        self.assertNotIn("LICENSE.txt", found)
        self.assertNotIn(b"secret", found.values())
        self.fails(3, "convert", self.model, self.dir / "strict", "--strict-paths",
                   says=["--strict-paths"])
        self.assertFalse((self.dir / "strict").exists())

    def test_training_leaves_them_behind(self):
        self.hostile()
        table = self.dir / "rows.csv"
        table.write_text("text,label\n" + "a b,x\nb a,y\n" * 10)
        result = run("train", "classify", "-m", self.model, "--train", table, "-o",
                     self.dir / "run", "--steps", "2", "--batch", "2", "--tokens", "16",
                     "--progress", "none")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn(b"secret", self.everything_below(self.dir / "run").values())
        self.assertIn("not copied", run(
            "train", "classify", "-m", self.model, "--train", table, "-o", self.dir / "again",
            "--steps", "1", "--batch", "2", "--tokens", "16", "--progress", "plain").stderr)

    def test_tokenizers_of_new_models(self):
        words = self.dir / "words"
        words.mkdir()
        (words / "tokenizer_config.json").write_text("{}")
        (words / "vocab.txt").symlink_to("../model/vocab.txt")
        result = run("init", "--arch", "longformer", "--preset", "tiny", "--tokenizer", words, "-o",
                     self.dir / "new")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("leads out of the folder: vocab.txt; not copied", result.stderr)
        self.assertFalse((self.dir / "new/vocab.txt").exists())

    def test_caches_work(self):
        cache = self.dir / "models--org--name"
        snapshot = cache / "snapshots/0123"
        snapshot.mkdir(parents=True)
        (cache / "blobs").mkdir()
        for i, path in enumerate(sorted(self.model.iterdir())):
            path.rename(cache / f"blobs/{i}")
            (snapshot / path.name).symlink_to(f"../../blobs/{i}")
        result = run("convert", snapshot, self.dir / "out")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue((self.dir / "out/vocab.txt").is_file())
        self.ok("classify", "-m", snapshot, "--text", "a b")
        self.fails(3, "classify", "-m", snapshot, "--text", "a b", "--strict-paths",
                   says=["a link leads out of"])

    def test_strict_paths_everywhere(self):
        for name in ["config.json", "model.safetensors", "vocab.txt"]:
            path = self.model / name
            path.rename(self.secrets / name)
            path.symlink_to(f"../ssh/{name}")
            self.ok("classify", "-m", self.model, "--text", "a b")
            for command in [["classify", "-m", self.model, "--text", "a b"],
                            ["--strict-paths", "embed", "-m", self.model, "--text", "a"]]:
                if "--strict-paths" not in command:
                    command.append("--strict-paths")
                self.fails(3, *command, says=[name, "a link leads out of"])
            path.unlink()
            (self.secrets / name).rename(path)
        self.ok("classify", "-m", self.model, "--text", "a b", "--strict-paths")
        (self.model / "vocab.txt").rename(self.model / "words.txt")
        (self.model / "vocab.txt").symlink_to("words.txt")
        self.ok("tokenize", "-m", self.model, "a", "--strict-paths")


class Limits(FolderTest):
    def test_strict_weights(self):
        self.add_tensors(12)
        plain = run("classify", "-m", self.model, "--text", "a")
        self.assertEqual(plain.returncode, 0, plain.stderr)
        self.assertIn("2 more tensors are not part of the model", plain.stderr)
        for flag in ["--strict", "--strict-weights"]:
            self.fails(3, "classify", "-m", self.model, "--text", "a", flag,
                       says=["12 tensors", "extra.00", "extra.09", "(12 in all)"])
        table = self.dir / "rows.csv"
        table.write_text("text,label\n" + "a b,x\nb a,y\n" * 10)
        self.fails(3, "train", "classify", "-m", self.model, "--train", table, "-o",
                   self.dir / "run", "--steps", "1", "--strict-weights", says=["12 tensors"])

    def test_code_of_the_models_own(self):
        config = json.loads((self.model / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "modeling.Evil"}
        (self.model / "config.json").write_text(json.dumps(config))
        result = run("classify", "-m", self.model, "--text", "a", "-q")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([line for line in result.stderr.splitlines() if "auto_map" in line],
                         result.stderr.splitlines())

    def test_special_tokens(self):
        config = json.loads((self.start / "config.json").read_text())
        for field in ["eos_token_id", "bos_token_id", "pad_token_id"]:
            changed = self.dir / "changed.json"
            changed.write_text(json.dumps({**config, field: 1000000}))
            self.fails(3, "init", "--config", changed, "-o", self.dir / "new", says=[field])
        for buckets in [2 ** 31, [2 ** 20, 2 ** 20], [256, 256]]:
            text = json.dumps({**config, "num_buckets": buckets})
            (self.start / "config.json").write_text(text)
            for command in [["info", self.start], ["generate", "-m", self.start, "-p", "a"],
                            ["train", "lm", "-m", self.start, "--train", self.text, "-o",
                             self.dir / "run"]]:
                self.fails(3, *command, says=["num_buckets"])

    def test_sizes_are_refused_before_they_are_taken(self):
        large = {**json.loads((self.start / "config.json").read_text()), "hidden_size": 1 << 19,
                 "axial_pos_embds_dim": [1 << 18, 1 << 18], "feed_forward_size": 1 << 19,
                 "vocab_size": 1 << 23}
        (self.dir / "large.json").write_text(json.dumps(large))
        self.fails(5, "init", "--config", self.dir / "large.json", "-o", self.dir / "new",
                   says=["needs ", " TB, limit "])
        self.fails(5, "bench", "train", "--config", self.dir / "large.json", "--tokens", "64",
                   says=["needs ", " TB, limit "])
        self.fails(5, "classify", "-m", self.model, "--text", "a", "--memory", "1K",
                   says=["limit 1.02 kB"])
        self.ok("classify", "-m", self.model, "--text", "a", "--memory", "1G")
        # A file with a hole is as long as it likes.
        sparse = self.dir / "sparse"
        sparse.mkdir()
        header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40],
                                   "data_offsets": [0, 1 << 42]}}).encode()
        with open(sparse / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            try:
                file.truncate(8 + len(header) + (1 << 42))
            except OSError:
                self.skipTest("the file system has no files of this length")
        self.fails(5, "convert", sparse, self.dir / "out", says=["needs 4.4 TB, limit "])

    def test_bench_sizes(self):
        large = str(1 << 62)
        for what in ["tokens", "batch", "heads", "head-dim"]:
            self.fails(5, "bench", "attention", f"--{what}", large, says=["needs ", ", limit "])
        self.fails(5, "bench", "train", "--preset", "tiny", "--batch", large, "--tokens", "64",
                   says=["limit "])
        for kind in ["train", "forward"]:
            for arch in ["longformer", "reformer"]:
                for option in [["--tokens", "0"], ["--tokens", "-1"], ["--batch", "0"],
                               ["--batch", "-1"], ["--tokens", ""], ["--batch", large + "0"]]:
                    self.fails(2, "bench", kind, "--arch", arch, "--preset", "tiny", *option)

    @unless_sanitized
    def test_headers_cost_what_they_are(self):
        folder = self.dir / "headers"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(SMALL))
        header = b'{"a":{"dtype":"F32","shape":[' + b"1" * 50_000_000 + b'],"data_offsets":[0,0]}}'
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        self.fails(3, "convert", folder, self.dir / "out", says=["a number of 50000000 digits"])
        self.assertLess(self.peak("convert", folder, self.dir / "out"), (64 + 4 * 50) * 1_000_000)

    def peak(self, *arguments):
        """Bytes of memory that the program takes at most."""
        pid = os.fork()
        if pid == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.execv(support.PROGRAM, [support.PROGRAM, *map(str, arguments)])
        return os.wait4(pid, 0)[2].ru_maxrss * 1024


class Options(Case):
    def test_numbers(self):
        out = self.dir / "out"
        train = ["train", "lm", "-m", self.start, "--train", self.text, "-o", out]
        for value in ["", "9223372036854775808", "-9223372036854775809", "1" * 400]:
            self.fails(2, *train, "--steps", value, says=["--steps"])
        for value in ["", "18446744073709551616", "-1"]:
            self.fails(2, "init", "--seed", value, "-o", out, says=["--seed"])
        self.ok("init", "--preset", "tiny", "--seed", "18446744073709551615", "-o", out)
        for value in ["", "nan", "inf", "-inf", "NaN", "1e999"]:
            for option in ["--dropout", "--learning-rate", "--clip", "--held-out"]:
                self.fails(2, *train, option, value, says=[option[2:]])
        self.fails(2, "-t", "", "info", self.start)

    def test_two_places_for_one_are_refused(self):
        self.fails(2, "tokenize", "-m", "bytes", "-m", self.start, "a", says=["--model is given twice: bytes and"])
        self.fails(2, "init", "-o", self.dir / "a", "-o", self.dir / "b", says=["--output is given twice: ", "give one"])
        self.ok("tokenize", "-m", "bytes", "-m", "bytes", "a", "--json", "--json")
        # Of settings the last one counts: a script may append it.
        self.assertEqual(self.ok("tokenize", "-m", "bytes", "abcd", "--ids", "--tokens", "9", "--tokens", "2",
                                 "--overflow", "error", "--overflow", "truncate").count(" "), 1)

    def test_ranges_are_said_in_words(self):
        for value in ("-1", "-3", "1.5", "x"):
            self.fails(2, "embed", "-m", self.start, "--text", "a", "--tokens", value,
                       says=["--tokens", f"needs a whole number from 0, not {value}"])
        self.fails(2, "tokenize", "-m", "bytes", "a", "--tokens=-1", says=["needs a whole number from 0, not -1"])
        self.ok("tokenize", "-m", "bytes", "a", "--tokens", "0")

    def test_names(self):
        out = self.dir / "out"
        for option in ["--config", "--tokenizer", "--preset", "--arch", "--head", "-o"]:
            self.fails(2, "init", *([] if option == "-o" else ["-o", out]), option, "",
                       says=["needs a value, it is empty"])
        self.fails(2, "info", "", says=["needs a value"])
        self.fails(2, "plot", "", says=["needs a value"])
        self.fails(2, "demo", "--text", "", says=["needs a value"])
        self.ok("tokenize", "-m", self.start, "")
        self.fails(2, "generate", "-m", self.start, "-p", "", says=["the prompt is empty"])

    def test_messages_hold_no_terminal_sequences(self):
        for arguments in [["classify", "-m", "x", "--dtype", "\x1b[31m"],
                          ["info", "x", "--\x1b[31m"], ["init", "-o", "x", "--seed", "\x1b[31m"]]:
            result = run(*arguments)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertNotIn("\x1b", result.stderr)
            self.assertIn("\\x1b[31m", result.stderr)

    def test_options_without_an_effect_are_refused(self):
        self.fails(2, "init", "--labels", "a,b", "-o", self.dir / "no", says=["labels: have no effect on a head for lm"])
        for words, says in ((["-m", self.start, "--arch", "bert"], "arch: has no effect without a preset"),
                            (["--preset", "tiny", "--any-length"], "any-length: has no effect without --model"),
                            (["-m", self.start, "--tokens", "64", "--any-length"], "any-length: has no effect with --tokens")):
            self.fails(2, "plan", *words, says=[says])
        self.fails(2, "bench", "train", "--config", self.start / "config.json", "--arch", "bert",
                   says=["arch: has no effect without a preset"])

    def test_names_that_are_no_utf8(self):
        self.fails(2, "init", "--head", "classify", "--labels", "a\udcffb", "-o", self.dir / "judge",
                   says=["not UTF-8"])
        result = run("train", "lm", "-m", self.start, "--train", self.text, "-o",
                     f"{self.dir}/x\udcff", *SMALL_RUN, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["output"], f"{self.dir}/x\ufffd")

    def test_paths_in_errors(self):
        (self.dir / "loop").symlink_to("loop")
        for command in [["info", self.dir / "loop"], ["plot", self.dir / "loop"],
                        ["tokenize", "-m", self.dir / "loop", "a"],
                        ["init", "-o", self.dir / "loop"]]:
            self.fails(4, *command, says=["loop", "cannot open: Too many levels of symbolic links"])
        self.fails(4, "init", "-o", self.dir / ("\x1b[31m" + "x" * 300), says=["\\x1b[31m", "too long"])


if __name__ == "__main__":
    main()
