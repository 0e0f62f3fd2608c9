#!/usr/bin/env python3
"""What comes from strangers, from outside: special files, odd texts and numbers, streams that nobody
holds. docs/reference/untrusted_files.md says what is promised.

usage: untrusted_test.py PROGRAM [unittest options]
"""

import itertools
import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess

import support
from limits_test import FolderTest
from support import ROOT, SMALL_RUN, Case, main, run

TOKENIZERS = ROOT / "tests" / "tokenizers"
# Prose that is no UTF-8, and the place of its first wrong byte.
NO_UTF8 = {"a byte alone": (b"ab\xff", 2), "an overlong slash": (b"a\xc0\xaf", 1),
           "half a surrogate": (b"\xed\xa0\x80", 0), "half a character": (b"a\xe2\x82", 1)}


class SpecialFiles(FolderTest):
    """What is no regular file is refused at once: nobody waits for a FIFO, reads a device to its end."""

    def kinds(self, path):
        """Puts one thing after the other at `path`, and says what each is."""
        os.mkfifo(path)
        yield "not a regular file but a FIFO"
        path.unlink()
        path.mkdir()
        yield "not a regular file but a directory"
        path.rmdir()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            yield "not a regular file but a socket"
        path.unlink()
        path.symlink_to("/dev/zero")
        yield "not a regular file but a device"
        path.unlink()
        path.symlink_to(path.name)
        yield "Too many levels of symbolic links"
        path.unlink()

    def test_in_a_models_folder(self):
        for name in ["config.json", "model.safetensors", "vocab.txt"]:
            path = self.model / name
            good = path.read_bytes()
            path.unlink()
            for what in self.kinds(path):
                self.fails(4, "classify", "-m", self.model, "--text", "a", says=[name, what],
                           timeout=60)
            path.write_bytes(good)
        self.ok("classify", "-m", self.model, "--text", "a")

    def test_as_texts(self):
        path = self.dir / "strange"
        for what in self.kinds(path):
            if "directory" in what:
                continue  # a folder stands for its files
            for command in [["classify", "-m", self.model], ["tokenize", "-m", self.start, "-f"],
                            ["generate", "-m", self.start, "-f"],
                            ["train", "lm", "-m", self.start, "-o", self.dir / "run", "--train"],
                            ["eval", "-m", self.start], ["tokenize", "train", "-o", self.dir / "t"]]:
                self.fails(4, *command, path, says=["strange", what], timeout=60)


class Weights(FolderTest):
    def test_values_that_are_no_numbers(self):
        path = self.model / "model.safetensors"
        whole = path.read_bytes()
        for value in (math.nan, math.inf):
            path.write_bytes(whole[:-4] + struct.pack("<f", value))
            for command in (["classify", "-m", self.model, "--text", "a"],
                            ["embed", "-m", self.model, "--text", "a"]):
                self.fails(3, *command, says=['tensor "longformer.encoder.', "NaN or infinite"])
                self.ok(*command, "--allow-nonfinite")


class Texts(FolderTest):
    def rows(self, *arguments, **options):
        return [json.loads(line) for line in self.ok("embed", *arguments, **options).splitlines()]

    def test_none_and_empty_ones(self):
        empty = self.dir / "empty.txt"
        empty.touch()
        for model in [self.start, self.model]:
            self.fails(3, "embed", "-m", model, empty, says=["empty.txt", "is empty"])
            self.fails(3, "embed", "-m", model, "-", "--lines", input="", says=["stdin", "is empty"])
        # A tokenizer that puts tokens around a text has something to read; bytes have nothing.
        (row,) = self.rows("-m", self.model, "--text", "")
        self.assertEqual(row["tokens"], 2)
        self.fails(2, "embed", "-m", self.start, "--text", "", says=["text 1", "is empty"])
        self.fails(2, "generate", "-m", self.start, "-p", "", says=["the prompt is empty"])
        self.assertEqual(self.ok("tokenize", "-m", self.start, "--ids", ""), "\n")

    def lengths(self, model, word, lengths):
        """Texts of these lengths together and each alone: padding leaves no trace."""
        texts = [(word * n).strip() for n in lengths]
        together = self.rows("-m", model, *[x for text in texts for x in ("--text", text)])
        self.assertEqual(len(together), len(texts))
        for text, row in zip(texts, together):
            (alone,) = self.rows("-m", model, "--text", text)
            self.assertEqual(row["tokens"], alone["tokens"])
            self.assertEqual(row["windows"], 1)
            for a, b in zip(row["embedding"], alone["embedding"]):
                self.assertAlmostEqual(a, b, delta=1e-4)

    def test_lengths_around_the_window(self):
        # 2 tokens to each side, and two tokens around a text: 3 to 17 tokens.
        self.lengths(self.model, "a ", [1, 2, 3, 4, 5, 7, 15])

    def test_lengths_around_the_chunk(self):
        config = json.loads((self.start / "config.json").read_text())
        local, lsh = config["local_attn_chunk_length"], config["lsh_attn_chunk_length"]
        self.lengths(self.start, "a", sorted({1, local - 1, local, local + 1, 2 * lsh - 1, 2 * lsh,
                                              2 * lsh + 1, 5 * local + 3}))

    def test_every_token_global(self):
        text = "a b " * 20
        scores = []
        for policy in ["every:1", "first:1000"]:
            report = json.loads(self.ok("classify", "-m", self.model, "--text", text, "--global",
                                        policy, "--json"))
            scores.append(report["results"][0]["labels"])
        self.assertEqual(scores[0], scores[1])
        self.assertAlmostEqual(sum(label["score"] for label in scores[0]), 1.0, places=6)
        self.fails(2, "classify", "-m", self.model, "--text", "a", "--global", "ids:1000",
                   says=["1000"])

    def test_any_bytes(self):
        path = self.dir / "bytes.txt"
        for what, (content, at) in NO_UTF8.items():
            path.write_bytes(content)
            self.fails(3, "classify", "-m", self.model, path,
                       says=["bytes.txt:1", f"byte {at} of the line is 0x", "no UTF-8"])
            result = json.loads(self.ok("classify", "-m", self.model, path, "--encoding", "latin-1",
                                        "--json"))
            self.assertEqual(len(result["results"]), 1, what)
            # A model of bytes takes them as they are: byte b is the id b + 2.
            ids = self.ok("tokenize", "-m", self.start, "--ids", "-f", path)
            self.assertEqual([int(x) for x in ids.split()], [b + 2 for b in content])
        path.write_bytes(b"a\0b")
        self.fails(3, "classify", "-m", self.model, path, says=["byte 1 is 0"])
        self.assertEqual(self.ok("tokenize", "-m", self.start, "--ids", "-f", path), "99 2 100\n")
        argument = b"a\xff".decode("utf-8", "surrogateescape")
        self.fails(2, "classify", "-m", self.model, "--text", argument, says=["text 1:1", "0xff"])

    def test_characters_of_several_parts(self):
        family = "\U0001F469\u200D\U0001F469\u200D\U0001F467"
        for name in ["bert-uncased", "roberta", "spiece-unigram"]:
            (row,) = json.loads(self.ok("tokenize", "-m", TOKENIZERS / name, "--json",
                                        f"a {family}\u202E b"))["rows"]
            self.assertGreater(len(row["ids"]), 2, name)
            ends = [span[1] for span in row["offsets"]["bytes"]]
            self.assertLessEqual(max(ends), len(f"a {family}\u202E b".encode()))


class Tokenizers(Case):
    def changed(self, base, change):
        folder = self.dir / "tokenizer"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(TOKENIZERS / base, folder)
        document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        change(document)
        (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    def test_expressions_are_none_that_could_take_forever(self):
        for section, step in [
                ("pre_tokenizer", {"type": "Split", "behavior": "Isolated", "invert": False}),
                ("normalizer", {"type": "Replace", "content": "b"})]:
            def change(document):
                document[section] = {**step, "pattern": {"Regex": "(a+)+$"}}
            folder = self.changed("roberta", change)
            self.fails(3, "tokenize", "-m", folder, "a" * 100_000,
                       says=[section, 'the expression "(a+)+$"', "is not read"], timeout=60)

    def test_names_of_bytes_are_two_hex_digits(self):
        names = ["<0x-1>", "<0x-0>", "<0xZZ>", "<0x1FF>", "<0x4>", "<0x41>"]

        def change(document):
            document["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"},
                                                                    {"type": "Fuse"}]}
            for name in names:
                document["model"]["vocab"][name] = len(document["model"]["vocab"])
        folder = self.changed("reformer-5", change)
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        for name in names:
            self.assertEqual(self.ok("tokenize", "-m", folder, "--decode", vocabulary[name]),
                             ("A" if name == "<0x41>" else name) + "\n")

    def test_ids_out_of_range(self):
        for ids, says in [("-1", "id -1 at position 0"), ("99 258", "id 258 at position 1"),
                          ("2147483648", '"2147483648" at position 0 is no id'),
                          ("9" * 30, "is no id")]:
            self.fails(3, "tokenize", "-m", self.start, "--decode", ids, says=[says])

    def test_ids_of_a_vocabulary(self):
        for value in [-1, 1 << 31, 1 << 63]:
            def change(document):
                document["model"]["vocab"]["zzz"] = value
            self.fails(3, "tokenize", "-m", self.changed("bert-uncased", change), "a",
                       says=["zzz", value])

    def test_more_ids_than_the_model_has_rows(self):
        model = self.dir / "model"
        self.ok("init", "--preset", "tiny", "--tokenizer", TOKENIZERS / "spiece-bpe", "-o", model)
        config = json.loads((model / "config.json").read_text())
        self.assertEqual(config["vocab_size"], 320)
        (model / "added_tokens.json").write_text('{"<x>": 320}')
        for command in [["generate", "-m", model, "-p", "a"], ["embed", "-m", model, "--text", "a"],
                        ["train", "lm", "-m", model, "--train", self.text, "-o", self.dir / "run"],
                        ["eval", "-m", model, self.text]]:
            self.fails(3, *command, says=["321", "320"])


class Numbers(Case):
    def test_of_sampling(self):
        generate = ["generate", "-m", self.start, "-p", "a"]
        for option, values in [("--temp", ["-1", "nan", "10000000"]), ("--top-k", ["-1", "1.5"]),
                               ("--top-p", ["0", "1.5", "nan"]), ("-n", ["-1", "1e12", "9223372036854775808"]),
                               ("--repetition-penalty", ["0", "nan"]), ("--beams", ["0", "1000000000"]),
                               ("--batch", ["0"]), ("--seed", ["-1"])]:
            for value in values:
                self.fails(2, *generate, option, value, says=[value])
        self.fails(2, *generate, "--beams", "2", "--length-penalty", "nan", says=["nan"])
        # Nothing to write is the prompt; more choices than there are mean all of them.
        self.assertEqual(self.ok(*generate, "-n", "0"), "a\n")
        every = self.ok(*generate, "-n", "20", "--json")
        for top in ["0", "2147483648"]:
            self.assertEqual(self.ok(*generate, "-n", "20", "--json", "--top-k", top), every)
        self.assertEqual(self.ok(*generate, "-n", "20", "--temp", "0", "--json"),
                         self.ok(*generate, "-n", "20", "--top-k", "1", "--json"))

    def test_of_threads(self):
        environment = dict(os.environ)
        generate = ["generate", "-m", self.start, "-p", "a", "-n", "5"]
        expected = self.ok(*generate)
        for value in ["0", "abc", "10000", "-1", ""]:
            # The runtime's own variable: it says what it thinks of the value, and nothing else changes.
            self.assertEqual(self.ok(*generate, env={**environment, "OMP_NUM_THREADS": value}), expected)
            if value:
                self.fails(2, *generate, env={**environment, "LONGSPAN_THREADS": value},
                           says=["LONGSPAN_THREADS", value, "1 to 1024"])
                self.fails(2, *generate, "-t", value, says=[value])
        self.assertEqual(self.ok(*generate, env={**environment, "OMP_THREAD_LIMIT": "1"}), expected)


class Streams(Case):
    """Standard streams that nobody holds."""

    def commands(self):
        return [["info", self.start], ["info", self.start, "--json"], ["--version"], ["--help"],
                ["train", "lm", "--help"], ["tokenize", "-m", self.start, "abc"],
                ["embed", "-m", self.start, "--text", "abc"],
                ["generate", "-m", self.start, "-p", "a", "-n", "3"],
                ["generate", "-m", self.start, "-p", "a", "-n", "3", "--json"],
                ["plan", "--preset", "tiny", "--memory", "1G", "--trial", "0"]]

    def status(self, command, **options):
        """(status, the last line on stderr; of --json the message as that line would be)"""
        result = subprocess.run([support.PROGRAM, *map(str, command)], stderr=subprocess.PIPE, text=True,
                                timeout=300, **options)
        said = (result.stderr.strip().splitlines() or [""])[-1]
        if said.startswith('{"error"'):
            said = "longspan: " + json.loads(said)["error"]["message"]
        return result.returncode, said

    def test_nobody_reads(self):
        for command in self.commands():
            read, write = os.pipe()
            os.close(read)
            status, said = self.status(command, stdout=write)
            os.close(write)
            self.assertEqual(status, -signal.SIGPIPE, command)
            self.assertNotIn("longspan:", said)

    def test_full_device(self):
        for command in self.commands():
            with open("/dev/full", "wb") as full:
                self.assertEqual(self.status(command, stdout=full),
                                 (4, "longspan: stdout: No space left on device"), command)

    def test_closed_output(self):
        for command in self.commands():
            self.assertEqual(self.status(command, preexec_fn=lambda: os.close(1)),
                             (4, "longspan: stdout: Bad file descriptor"), command)

    def test_closed_input(self):
        for command in [["embed", "-m", self.start, "-"], ["generate", "-m", self.start, "-f", "-"],
                        ["tokenize", "-m", self.start, "-f", "-"]]:
            self.assertEqual(self.status(command, preexec_fn=lambda: os.close(0)),
                             (4, "longspan: stdin: cannot read: Bad file descriptor"), command)

    def test_what_is_printed_never_lands_in_a_file(self):
        whole = self.dir / "whole"
        self.train(whole)
        expected = self.losses(whole)
        text = self.text.read_bytes()
        for count in (1, 2, 3):
            for closed in itertools.combinations((0, 1, 2), count):
                out = self.dir / ("run" + "".join(map(str, closed)))
                streams = {} if 2 in closed else {"stderr": subprocess.DEVNULL}
                result = subprocess.run(
                    [support.PROGRAM, "train", "lm", "-m", self.start, "--train", self.text, "-o", out,
                     *SMALL_RUN, "--progress", "plain"], timeout=300,
                    preexec_fn=lambda: [os.close(fd) for fd in closed],
                    stdout=None if 1 in closed else subprocess.DEVNULL, **streams)
                self.assertEqual(result.returncode, 4 if 1 in closed else 0, closed)
                self.assertEqual(self.losses(out), expected)
                self.assertEqual((out / "model.safetensors").read_bytes(),
                                 (whole / "model.safetensors").read_bytes())
                self.assertEqual(self.text.read_bytes(), text)


if __name__ == "__main__":
    main()
