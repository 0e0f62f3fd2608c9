#!/usr/bin/env python3
"""The demo and the tools that learn what attention and length buy, at a size that only shows that
they run.

usage: learning_test.py PROGRAM [unittest options]
"""
import bz2
import json
import subprocess
import sys

import support
from support import ROOT, Case, main

NOVEL = ROOT / "data" / "persuasion.txt"


class Learning(Case):
    def tool(self, name, *arguments):
        done = subprocess.run([sys.executable, ROOT / "tools" / name, *map(str, arguments)],
                              capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_duplication_table(self):
        out = self.dir / "table"
        words = [support.PROGRAM, "--tokens", 32, "--steps", 4, "--batch", 2, "--symbols", 8,
                 "--hidden", 32, "--rows", 4, "--trained", "full", "lsh-2", "-o", out]
        report = json.loads(self.tool("duplication_table.py", *words, "--json").stdout)
        self.assertEqual([row["trained"] for row in report["rows"]], ["full", "lsh-2"])
        self.assertEqual([len(row["accuracy"]) for row in report["rows"]], [5, 5])
        self.assertTrue((out / "duplication.svg").read_text().startswith("<"))
        again = self.tool("duplication_table.py", *words)  # nothing is trained twice
        self.assertNotIn("$ longspan puzzle", again.stderr)
        self.assertIn("| full | ", again.stdout)
        self.assertEqual(again.stdout, (out / "table.md").read_text())

    def test_context_length(self):
        text, out = self.dir / "novel.txt", self.dir / "context"
        text.write_bytes(NOVEL.read_bytes()[:30000])
        words = [support.PROGRAM, text, "--scored", 2000, "--contexts", 64, 256, "--stages",
                 "64x2:3@1e-3", "256x1:2@1e-3", "-o", out, "--json"]
        report = json.loads(self.tool("context_length.py", *words).stdout)
        self.assertEqual([row["context"] for row in report["contexts"]], [64, 256])
        for row in report["contexts"]:
            self.assertGreater(row["bits_per_byte"], 1.0)
            self.assertLess(row["bits_per_byte"], 9.0)
            self.assertLess(abs(row["bits_per_byte_cut"] - row["bits_per_byte"]), 2.0)
        self.assertEqual(report["train_bytes"], 30000 - 2000 - 256)
        self.assertTrue((out / "context.svg").read_text().startswith("<"))

    def test_wikipedia_text(self):
        page = ("<page><title>{}</title><revision><text>{}</text></revision></page>").format
        dump = self.dir / "dump.xml.bz2"
        markup = ("'''Ash''' is [[tree|a tree]] of [[Europe]].&lt;ref&gt;x&lt;/ref&gt; {{a|{{b}}}}"
                  "&lt;!-- no --&gt;\n== Wood ==\n* hard\n[[File:a.jpg|the [[ash]]]]")
        dump.write_bytes(bz2.compress(("<mediawiki>" + page("Ash", markup) +
                                       page("Esche", "#REDIRECT [[Ash]]") + page("User:x", "me") +
                                       "</mediawiki>").encode()))
        out = self.dir / "out.txt"
        self.tool("wikipedia_text.py", dump, "-o", out, "--at-least", 1)
        self.assertEqual(out.read_text(), "Ash\n\nAsh is a tree of Europe. \nWood\nhard\n")


class Demo(Case):
    def test_learns_draws_and_writes(self):
        """A text so short that sixteen passes take less than the time."""
        text, out = self.dir / "novel.txt", self.dir / "demo"
        text.write_bytes(NOVEL.read_bytes()[:3000])
        words = ["demo", "--text", text, "--minutes", 5, "--progress", "none", "-o", out]
        told = self.ok(*words)
        updates = 16 * (int(0.9 * 3000) // (8 * 256) + 1)
        self.assertIn(f"in {updates} updates of 8 x 256 bytes", told)
        self.assertRegex(told, r"\d\.\d{3} bits per byte on the held-out tenth")
        self.assertRegex(told, r"\d\.\d{3} bits per byte: order-3 Witten-Bell")
        self.assertIn("She had been forced into prudence", told)
        for name in ["loss.svg", "loss.png", "pattern.svg", "pattern.png", "start/config.json",
                     "run/model.safetensors"]:
            self.assertGreater((out / name).stat().st_size, 0, name)
        self.assertIn("in 3 updates", self.ok(*words, "--steps", 3))  # an earlier demo gives way

    def test_leaves_other_folders_alone(self):
        other = self.dir / "mine"
        other.mkdir()
        (other / "thesis.txt").write_text("long")
        self.fails(2, "demo", "--steps", 1, "-o", other, says=["mine", "not empty"])
        self.assertEqual([path.name for path in other.iterdir()], ["thesis.txt"])


if __name__ == "__main__":
    main()
