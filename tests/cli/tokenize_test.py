#!/usr/bin/env python3
"""longspan tokenize, from outside.

usage: tokenize_test.py PROGRAM [unittest options]
"""
import json
import os
import pty
import shutil

import support
from support import ROOT, Case, main, run

FOLDER = ROOT / "tests" / "tokenizers"
ROBERTA, BERT = FOLDER / "roberta", FOLDER / "bert-uncased"
RECORDED = json.loads((FOLDER / "roberta.cases.json").read_text(encoding="utf-8"))


class Tokenize(Case):
    def test_ids_are_the_recorded_ones(self):
        rows = [r for r in RECORDED["texts"] if r.get("text") and "\x00" not in r["text"]][3:20]
        texts = [self.dir / f"{i}.txt" for i in range(len(rows))]
        for row, file in zip(rows, texts):
            file.write_bytes(row["text"].encode())
            printed = self.ok("tokenize", "-m", ROBERTA, "--ids", "--no-special", "-f", file)
            self.assertEqual([int(i) for i in printed.split()], row["ids"], row["text"])
            back = self.ok("tokenize", "-m", ROBERTA, "--decode", " ".join(map(str, row["ids"])))
            self.assertEqual(back, row["decoded"] + "\n")

    def test_json(self):
        document = json.loads(self.ok("tokenize", "-m", BERT, "--pair", "a b", "first é!", "x",
                                      "--json"))
        size = len((BERT / "vocab.txt").read_text(encoding="utf-8").splitlines())
        self.assertEqual((document["tokenizer"], document["vocabulary"]), ("WordPiece", size))
        self.assertIsNone(document["model_max_length"])  # 10^30 in the file
        self.assertEqual([r["text"] for r in document["rows"]], [0, 1])
        row = document["rows"][0]
        self.assertEqual(row["tokens"], ["[CLS]", "first", "e", "!", "[SEP]", "a", "b", "[SEP]"])
        self.assertEqual(row["type_ids"], [0, 0, 0, 0, 0, 1, 1, 1])
        self.assertEqual(row["special"], [1, 0, 0, 0, 1, 0, 0, 1])
        self.assertEqual(row["sequence"], [-1, 0, 0, 0, -1, 1, 1, -1])
        self.assertEqual(row["offsets"]["characters"][1:4], [[0, 5], [6, 7], [7, 8]])
        self.assertEqual(row["offsets"]["bytes"][1:4], [[0, 5], [6, 8], [8, 9]])
        self.assertEqual(row["dropped"], [0, 0])

    def test_a_text_in_brackets_is_one_text(self):
        texts = ["[MASK] word [MASK]", "[Anne, Mary, and Sir Walter]", "[]", "++", "[0, 1].txt"]
        document = json.loads(self.ok("tokenize", "-m", BERT, "--no-special", "--json", *texts))
        rows = document["rows"]
        self.assertEqual([rows[0]["tokens"][i] for i in (0, -1)], ["[MASK]"] * 2)
        ends = [row["offsets"]["characters"] for row in rows]
        self.assertEqual([(e[0][0], e[-1][1]) for e in ends], [(0, len(t)) for t in texts])
        (self.dir / "[0, 1].txt").write_text("She had")
        self.assertEqual(self.ok("tokenize", "-m", BERT, "--ids", "-f", self.dir / "[0, 1].txt"),
                         self.ok("tokenize", "-m", BERT, "--ids", "She had"))

    def test_an_empty_value_is_empty(self):
        self.fails(2, "tokenize", "-m", BERT, "a", "--file=", "--json", says=["--file", "empty"])
        self.fails(2, "tokenize", "-m", BERT, "a", "--json=", says=["--json", "takes no value"])
        pair = self.ok("tokenize", "-m", BERT, "--ids", "a", "--pair=", "--no-special")
        self.assertEqual(pair, self.ok("tokenize", "-m", BERT, "--ids", "a", "--pair", "",
                                       "--no-special"))

    def test_what_is_shown(self):
        lines = self.ok("tokenize", "-m", ROBERTA, "She had").splitlines()
        size = len(json.loads((ROBERTA / "vocab.json").read_text(encoding="utf-8")))
        self.assertEqual(lines[0],
                         f"4 tokens, 2 of them around the text (byte-level BPE, {size} ids)")
        self.assertEqual(lines[1], "<s>|She|had|</s>")
        self.assertEqual(lines[2].split(), ["id", "token", "characters", "bytes"])
        self.assertEqual(lines[5].split()[1:], ["Ġhad", "4-7", "4-7"])
        # A terminal sequence in a text does not reach the terminal.
        self.assertNotIn("\x1b", self.ok("tokenize", "-m", ROBERTA, "\x1b[31m"))

    def test_colours_on_a_terminal_only(self):
        ours, theirs = pty.openpty()
        result = support.subprocess.run(
            [support.PROGRAM, "tokenize", "-m", ROBERTA, "She had"], stdout=theirs, timeout=60)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"\x1b[30;48;5;", shown)

    def test_cutting_is_told(self):
        text = "one two three four five six seven eight"
        whole = self.ok("tokenize", "-m", BERT, "--ids", text).split()
        self.fails(5, "tokenize", "-m", BERT, "--ids", "--tokens", 6, text,
                   says=[len(whole), 6, "truncate", "windows"])
        cut = run("tokenize", "-m", BERT, "--ids", "--tokens", 6, "--overflow", "truncate", text)
        self.assertEqual(cut.returncode, 0)
        self.assertEqual(cut.stdout.split(), whole[:5] + whole[-1:])
        self.assertEqual(cut.stderr, f"longspan: text: cut {len(whole) - 6} of the {len(whole) - 2} "
                                     "tokens, longest row 6\n")
        pair = run("tokenize", "-m", BERT, "--tokens", 9, "--overflow", "truncate-first",
                   "--pair", "one two", text, "--json")
        self.assertIn("of the first text", pair.stderr)
        dropped = json.loads(pair.stdout)["rows"][0]["dropped"]
        self.assertEqual((dropped[0] > 0, dropped[1]), (True, 0))
        windows = self.ok("tokenize", "-m", BERT, "--ids", "--tokens", 6, "--overflow",
                          "window", "--stride", 1, text).splitlines()
        middle = [w.split()[1:-1] for w in windows]
        self.assertEqual([w[0] for w in middle[1:]], [w[-1] for w in middle[:-1]])
        self.assertEqual(middle[0] + [t for w in middle[1:] for t in w[1:]], whole[1:-1])
        long = run("tokenize", "-m", ROBERTA, "--ids", "word " * 600)
        self.assertEqual(long.returncode, 0)
        self.assertIn("the model takes 512", long.stderr)

    def test_where_texts_come_from(self):
        ids = self.ok("tokenize", "-m", "bytes", "--ids", "ab", "c").splitlines()
        self.assertEqual(ids, ["99 100", "101"])
        self.assertEqual(self.ok("tokenize", "-m", "bytes", "--ids", "-", input="ab"), "99 100\n")
        self.assertEqual(self.ok("tokenize", "-m", "bytes", "--ids", "-f", "-", "--lines",
                                 input="a\nb\n"), "99\n100\n")
        self.assertEqual(self.ok("tokenize", "-m", self.start, "--ids", "a"), "99\n")
        self.assertEqual(self.ok("tokenize", "-m", "bytes", "--decode", "[99, 100]\n101"), "abc\n")
        self.assertEqual(self.ok("tokenize", "-m", ROBERTA, "--decode", "--no-special", "0 69 2"),
                         self.ok("tokenize", "-m", ROBERTA, "--decode", "69"))

    def test_bad_input(self):
        self.fails(2, "tokenize", "-m", BERT, says=["give a text"])
        self.fails(2, "tokenize", "-m", BERT, "x", "--overflow", "window")
        self.fails(2, "tokenize", "-m", BERT, "x", "--ids", "--json")
        for words, says in ((("--tokens", 6, "--stride", 1), "stride: it is what neighbouring windows share, and --overflow error"),
                            (("--tokens", 6, "--overflow", "truncate", "--stride", 1), "--overflow truncate makes none"),
                            (("--tokens", 0, "--overflow", "truncate"), "overflow: has no effect with --tokens 0"),
                            (("--lines",), "lines: has no effect without a file"),
                            (("--text-column", "a"), "text-column: has no effect without a file")):
            self.fails(2, "tokenize", "-m", BERT, "x", *words, says=[says])
        self.fails(2, "tokenize", "-m", BERT, "x", "--tokens", 2, says=["leaves no room"])
        self.fails(3, "tokenize", "-m", BERT, "--decode", "1 x 2", says=['"x" at position 1'])
        self.fails(3, "tokenize", "-m", BERT, "--decode", "7 5000", says=[5000, "position 1"])
        self.fails(4, "tokenize", "-m", self.dir / "nowhere", "x", says=["no such directory"])
        self.fails(4, "tokenize", "-m", BERT, "-f", self.dir / "nowhere", says=["cannot open"])
        empty = self.dir / "empty"
        empty.mkdir()
        self.fails(3, "tokenize", "-m", empty, "x", says=["tokenizer.json", "vocab.txt", "vocab.json"])
        strange = self.dir / "strange"
        shutil.copytree(BERT, strange)
        document = json.loads((strange / "tokenizer.json").read_text(encoding="utf-8"))
        document["pre_tokenizer"] = {"type": "Digits", "individual_digits": True}
        (strange / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
        self.fails(3, "tokenize", "-m", strange, "x", says=["pre_tokenizer", "Digits"])


if __name__ == "__main__":
    main()
