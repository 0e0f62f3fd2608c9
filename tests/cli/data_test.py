#!/usr/bin/env python3
"""Files as people have them, through every command: the table of docs/reference/data.md is made here.

usage: data_test.py PROGRAM [unittest options]
       data_test.py PROGRAM --write          writes the table into docs/reference/data.md
"""
import bz2
import gzip
import json
import os
import sys
from pathlib import Path

import support
from support import ROOT, Case, main, run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "anne", "was", "glad", "he", "went",
         "away", "who", "f", "##u", "sad"]
TEXTS = ["Anne was glad [MASK].", "He went away [MASK]."]
LABELS = ["pos", "neg"]
DOCS = ROOT / "docs" / "reference" / "data.md"
BEGIN, END = "<!-- table: tests/cli/data_test.py -->", "<!-- end of table -->"
BAD = b"\xff\xfe\xfd"  # in no encoding of ours


def rows(**more):
    """The two rows as dictionaries; `more` goes into the first one."""
    both = [{"id": i, "text": t, "label": l, "question": "Who?", "choices": ["anne", "he"]}
            for i, (t, l) in enumerate(zip(TEXTS, LABELS))]
    both[0].update(more)
    return both


def lines(items, end="\n"):
    return "".join(json.dumps(x) + end for x in items).encode()


def table(separator=",", end="\n", quote=True, header=None):
    def field(text):
        text = text if isinstance(text, str) else json.dumps(text)
        return '"' + text.replace('"', '""') + '"' if quote or '"' in text else text
    names = list(rows()[0])
    records = [header or names] + [[r[n] for n in names] for r in rows()]
    return "".join(separator.join(map(field, r)) + end for r in records).encode()


def with_unused(value):
    """JSON lines with a field that nobody asks for, as raw bytes."""
    return lines(rows()).replace(b'{"id"', b'{"unused": ' + value + b', "id"')


# What people have: name of the file, its bytes, further options. Each holds the two texts.
SAME = {
    "`.jsonl`": ("a.jsonl", lines(rows())),
    "`.ndjson`": ("a.ndjson", lines(rows())),
    "`.json`, lines": ("a.json", lines(rows())),
    "`.json`, a list": ("a.json", json.dumps(rows(), indent=1).encode()),
    "`.csv`": ("a.csv", table()),
    "`.CSV`": ("a.CSV", table()),
    "`.tsv`": ("a.tsv", table("\t", quote=False)),
    "`.csv.gz`": ("a.csv.gz", gzip.compress(table())),
    "stdin and `--format`": ("-", lines(rows()), "--format", "jsonl"),
    "CR LF": ("a.jsonl", lines(rows(), "\r\n")),
    "CR LF in a table": ("a.csv", table(end="\r\n")),
    "blank lines": ("a.jsonl", b"\n" + lines(rows(), "\n \n\r\n")),
    "byte-order mark": ("a.csv", b"\xef\xbb\xbf" + table()),
    "UTF-16 with a mark": ("a.csv", table().decode().encode("utf-16")),
    "`--encoding latin-1`": ("a.csv", table(), "--encoding", "latin-1"),
    "NaN in an unused field": ("a.jsonl", with_unused(b"NaN")),
    "no UTF-8 in an unused field": ("a.jsonl", with_unused(b'"\xff"')),
    "half a surrogate in an unused field": ("a.jsonl", with_unused(b'"\\ud800"')),
}
# What cannot be used as a whole.
REFUSED = {
    "an empty file": ("a.jsonl", b""),
    "a table without the column": ("a.csv", table(header=["id", "Text", "label", "question", "choices"])),
    "semicolons": ("a.csv", table(";")),
    "a table with CR alone": ("a.csv", table(end="\r")),
    "damaged gzip": ("a.csv.gz", gzip.compress(table())[:40]),
    "JSON lines named `.txt`": ("a.txt", lines(rows())),
    "a spreadsheet named `.csv`": ("a.csv", b"PK\x03\x04\x14\0\x06\0\x08\0[Content_Types].xml" + bytes(range(256))),
    "bzip2 named `.txt`": ("a.txt", bz2.compress(lines(rows()))),
}
# One row of three that cannot be used; the two others can.
ONE_BAD = {
    "bytes that are no UTF-8": ("a.csv", table() + b'3,"a' + BAD + b'","p","Who?","[""a"", ""b""]"\n'),
    "damaged JSON": ("a.jsonl", lines(rows()) + b'{"text": "a", "id" 3}\n'),
    "a text of another type": ("a.jsonl", lines(rows() + rows(text=5)[:1])),
    "half a surrogate": ("a.jsonl", lines(rows()) + lines(rows()[:1]).replace(b"Anne", b"\\ud800")),
    "an empty text": ("a.jsonl", lines(rows() + rows(text="")[:1])),
}
ASK = ["classify", "embed", "fill-mask", "token-classify", "qa", "multiple-choice", "generate", "tokenize"]
LEARN = ["train lm", "train mlm", "train classify"]
JUDGE = ["eval lm", "eval mlm", "eval classify", "data stats", "tokenize train"]


class Kinds(Case):
    def setUp(self):
        super().setUp()
        self.models = {}

    def model(self, kind):
        if kind in self.models:
            return self.models[kind]
        folder = self.dir / kind
        if kind == "lm":
            self.ok("init", "--preset", "tiny", "--tokenizer", ROOT / "tests/tokenizers/spiece-bpe",
                    "-o", folder)
            self.models[kind] = folder
            return folder
        head = {"mlm": "MaskedLM", "sequence": "SequenceClassification", "token": "TokenClassification",
                "qa": "QuestionAnswering", "choice": "MultipleChoice"}[kind]
        config = {"model_type": "longformer", "architectures": [f"LongformerFor{head}"],
                  "attention_window": [8, 8], "vocab_size": len(WORDS), "hidden_size": 16,
                  "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
                  "max_position_embeddings": 41, "type_vocab_size": 2, "pad_token_id": 0,
                  "bos_token_id": None, "eos_token_id": None, "sep_token_id": 3,
                  "initializer_range": 0.3}
        if kind == "sequence":
            config["id2label"] = {"0": "neg", "1": "pos"}
            config["label2id"] = {"neg": 0, "pos": 1}
        (self.dir / (kind + ".json")).write_text(json.dumps(config))
        self.ok("init", "--config", self.dir / (kind + ".json"), "-o", folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        self.models[kind] = folder
        return folder

    def call(self, command, path, more):
        """The arguments of a command that reads `path`."""
        field = ["--text-field", "text"] if command in ("qa", "multiple-choice") else []
        small = ["--steps", 2, "--batch", 1, "--progress", "none", "--save-every", 0, "--eval-every", 0]
        out = self.dir / ("out-" + command.replace(" ", "-"))
        kinds = {"classify": "sequence", "embed": "sequence", "fill-mask": "mlm",
                 "token-classify": "token", "qa": "qa", "multiple-choice": "choice"}
        if command in kinds:
            return [command, "-m", self.model(kinds[command]), path, "--json", *field, *more]
        if command == "generate":
            return [command, "-m", self.model("lm"), "-f", path, "-n", 3, "--temp", 0, "--json", *more]
        if command == "tokenize":
            return [command, "-m", self.model("mlm"), "-f", path, "--json", *more]
        if command == "tokenize train":
            return ["tokenize", "train", path, "--vocab-size", 30, "--no-byte-fallback", "-o", out,
                    "--overwrite", "--json", *more]
        if command == "data stats":
            return ["data", "stats", path, "--json", *more]
        task = command.split()[1]
        if command.startswith("train"):
            own = {"lm": ["--tokens", 8, "--documents", "file"], "mlm": ["--tokens", 8],
                   "classify": ["--accumulate", 1]}[task]
            model = self.model({"lm": "lm", "mlm": "mlm", "classify": "sequence"}[task])
            return ["train", task, "-m", model, "--train", path, "--eval", path, "-o", out,
                    "--overwrite", "--json", *small, *own, *more]
        own = {"lm": ["--tokens", 8], "mlm": ["--tokens", 8], "classify": []}[task]
        model = self.model({"lm": "lm", "mlm": "mlm", "classify": "sequence"}[task])
        return ["eval", "-m", model, path, "--json", *own, *more]

    def outcome(self, command, kind, *extra):
        """(status, what it says of the texts) of a command on a kind of file."""
        name, content, *more = kind
        path = "-" if name == "-" else self.dir / name
        if command.startswith("train") and name == "-":
            (self.dir / "stdin").write_bytes(content)  # read twice
            path = self.dir / "stdin"
        if name != "-":
            path.write_bytes(content)
        data = None if name != "-" else content.decode()
        result = run(*self.call(command, path, [*more, *extra]), input=data)
        self.assertNotIn("Traceback", result.stderr)
        if not result.stdout:
            return result.returncode, None, result.stderr
        report = json.loads(result.stdout)
        return result.returncode, self.digest(command, report), result.stderr

    def digest(self, command, report):
        """What a report says of the texts: no names, places, times."""
        drop = {"input", "seconds", "total_seconds", "times", "output", "bytes", "files", "text", "refused", "refusals",
                "first_unreadable", "unreadable_rows", "rows_without_text", "model"}

        def clean(x):
            if isinstance(x, dict):
                return {k: clean(v) for k, v in x.items() if k not in drop}
            if isinstance(x, list):
                return [clean(v) for v in x]
            # Rows may run in other company.
            return float(f"{x:.4g}") if isinstance(x, float) else x
        report = clean(report)
        for r in report.get("results", []):
            r.pop("id", None)  # text in tables
        return report

    def cell(self, command, title, kind, expected):
        """What the table says, and whether it is what was promised."""
        if title in SAME:
            status, said, errors = self.outcome(command, kind)
            self.assertEqual(status, 0, (command, title, errors))
            self.assertEqual(said, expected, (command, title))
            return "read"
        if command == "data stats" and (title in ONE_BAD or title in REFUSED):
            status, said, errors = self.outcome(command, kind)
            if title in REFUSED:
                self.assertEqual(status, 3, (command, title, errors))
                return "status 3"
            self.assertEqual(status, 0, (command, title, errors))
            self.assertEqual(said["documents"], 2, (command, title))
            return "counted"
        if title == "an empty text" and command == "multiple-choice":
            status, said, errors = self.outcome(command, kind)
            self.assertEqual((status, len(said["results"])), (0, 3), (command, title, errors))
            return "answered"  # a question needs no text
        if title == "an empty text" and command in ("train lm", "train mlm", "eval lm", "eval mlm",
                                                    "tokenize train"):
            status, said, errors = self.outcome(command, kind)
            self.assertEqual(status, 0, (command, title, errors))
            self.assertEqual(said, expected, (command, title))
            return "left out"
        status, said, errors = self.outcome(command, kind)
        if command.endswith("classify") and command not in ASK and kind[0].endswith(".txt"):
            self.assertEqual(status, 2, (command, title, errors))
            return "status 2"
        self.assertEqual(status, 3, (command, title, errors))
        if title in REFUSED or command not in ASK:
            # After a document the last line says why the status is not 0.
            lines = [line for line in errors.splitlines() if command not in ASK or not line.startswith('{"error"')]
            self.assertEqual(len(lines), 1, (command, title, errors))
            self.assertIn(kind[0], errors)
            if command in ASK:  # a document without answers
                self.assertEqual([v for v in said.values() if isinstance(v, list)], [[]], (command, title, said))
            else:
                self.assertIsNone(said, (command, title, errors))
            if title in ONE_BAD:
                self.assertIn(":4" if kind[0].endswith("csv") else ":3", errors)
                status, said, errors = self.outcome(command, kind, "--skip-bad")
                self.assertEqual(status, 0, (command, title, errors))
                self.assertEqual(said, expected, (command, title))
            return "status 3"
        self.assertEqual(said, expected, (command, title))
        status, said, errors = self.outcome(command, kind, "--skip-bad")
        self.assertEqual((status, said), (0, expected), (command, title, errors))
        return "others answered"

    def build(self, commands):
        cells = {}
        for command in commands:
            status, expected, errors = self.outcome(command, SAME["`.jsonl`"])
            self.assertEqual(status, 0, (command, errors))
            for group in (SAME, REFUSED, ONE_BAD):
                for title, kind in group.items():
                    cells[command, title] = self.cell(command, title, kind, expected)
        return cells

    def holds(self, commands):
        cells = self.build(commands)
        written = DOCS.read_text(encoding="utf-8")
        told = {}
        for line in written[written.index(BEGIN):written.index(END)].splitlines():
            parts = [p.strip() for p in line.strip("|").split("|")]
            if line.startswith("| kind"):
                header = parts[1:]
            elif line.startswith("| ") and not line.startswith("|---"):
                told.update({(c.strip("`"), parts[0]): cell for c, cell in zip(header, parts[1:])})
        for key, cell in cells.items():
            self.assertEqual(told.get(key), cell, f"docs/reference/data.md says otherwise of {key}: run this test's --write")


class AskKinds(Kinds):
    def test_the_table_of_the_docs_holds(self):
        self.holds(ASK)


class LearnKinds(Kinds):
    def test_the_table_of_the_docs_holds(self):
        self.holds(LEARN + JUDGE)


class LabelKinds(Kinds):
    def test_labels_of_lines_and_folders_are_those_of_a_table(self):
        (self.dir / "a.csv").write_bytes(table())
        lines_of = self.dir / "a.txt"
        lines_of.write_text("".join(f"__label__{label} {text}\n" for text, label in zip(TEXTS, LABELS)))
        for text, label in zip(TEXTS, LABELS):
            (self.dir / "mail" / label).mkdir(parents=True)
            (self.dir / "mail" / label / "1").write_text(text + "\n")
        said = [self.digest("eval classify", json.loads(self.ok(*self.call("eval classify", self.dir / name, []))))
                for name in ("a.csv", "a.txt", "mail")]
        self.assertEqual(said[0], said[1])
        self.assertEqual(said[0], said[2])
        for command in ("train classify", "data stats"):
            more = ["--task", "classify"] if command == "data stats" else []
            self.ok(*self.call(command, self.dir / "mail", more))
        stats = json.loads(self.ok("data", "stats", lines_of, "--json"))
        self.assertEqual([c["label"] for c in stats["labels"]["counts"]], ["neg", "pos"])
        lines_of.write_text("__label__pos anne\nno label\n")
        self.fails(3, *self.call("train classify", lines_of, []), says=["a.txt:2: has no label"])
        (self.dir / "mail" / "about.txt").write_text("he\n")
        self.fails(3, *self.call("eval classify", self.dir / "mail", []), says=["about.txt: lies beside"])


class Stdin(Case):
    """Standard input, and what the kinds of the table do not have."""

    def test_a_line_break_at_the_end_is_no_part_of_a_text(self):
        both = [self.ok("embed", "-m", self.start, "-", input="She had been\n"),
                self.ok("embed", "-m", self.start, "--text", "She had been")]
        one, other = [json.loads(x) for x in both]
        self.assertEqual(one["embedding"], other["embedding"])
        for mark, end in (("", "\r\n"), ("\ufeff", "\n"), ("", "\r")):
            (self.dir / "a.txt").write_bytes((mark + "She had" + end + "been" + end).encode())
            again = json.loads(self.ok("embed", "-m", self.start, self.dir / "a.txt"))
            plain = json.loads(self.ok("embed", "-m", self.start, "--text", "She had\nbeen"))
            self.assertEqual(again["embedding"], plain["embedding"], (mark, end))

    def test_a_read_error_is_no_end(self):
        for command in (["embed", "-m", self.start, "-"], ["tokenize", "-m", self.start, "-f", "-"],
                        ["generate", "-m", self.start, "-f", "-", "-n", "1"]):
            folder = os.open("/", os.O_RDONLY)
            self.fails(4, *command, says=["stdin: cannot read: Is a directory"], stdin=folder)
            os.close(folder)

    def test_endless_input_ends(self):
        for command in (["tokenize", "-m", self.start, "-f", "-"], ["generate", "-m", self.start, "-f", "-"],
                        ["embed", "-m", self.start, "-"]):
            with open("/dev/zero", "rb") as zeros:
                self.fails(5, *command, "--max-line-bytes", "8M", says=["stdin", "--max-line-bytes"],
                           stdin=zeros, timeout=60)

    def test_models_of_bytes_take_any_prose(self):
        (self.dir / "novel.txt").write_bytes("Anne fühlte sich wohl. ".encode("latin-1") * 100)
        novel = self.dir / "novel.txt"
        self.ok("train", "lm", "-m", self.start, "--train", novel, "-o", self.dir / "run", *support.SMALL_RUN)
        self.ok("eval", "-m", self.dir / "run", novel, "--tokens", 64)
        self.ok("embed", "-m", self.start, novel, "--tokens", 64, "--overflow", "truncate")
        # A tokenizer's model does not, and says where.
        model = self.dir / "pieces"
        self.ok("init", "--preset", "tiny", "--tokenizer", ROOT / "tests/tokenizers/spiece-bpe", "-o", model)
        for command in (["train", "lm", "-m", model, "--train", novel, "-o", self.dir / "no"],
                        ["eval", "-m", model, novel], ["embed", "-m", model, novel],
                        ["tokenize", "train", novel, "-o", self.dir / "no"]):
            self.fails(3, *command, says=["novel.txt:1: byte 6 of the line is 0xfc, which is no UTF-8"])
            self.assertFalse((self.dir / "no").exists())
        self.ok("embed", "-m", model, novel, "--encoding", "latin-1")

    def test_rows_of_an_array_and_of_squad(self):
        squad = {"version": "v2.0", "data": [{"title": "A", "paragraphs": [
            {"context": "Anne was glad.", "qas": [{"id": "q1", "question": "Who was glad?"}]}]}]}
        (self.dir / "squad.json").write_text(json.dumps(squad))
        self.fails(3, "embed", "-m", self.start, self.dir / "squad.json", says=["\"text\" is missing"])

    def test_many_empty_lines_and_long_ones_cost_little(self):
        (self.dir / "empty.txt").write_bytes(b"\n" * 1_000_000 + b"a\n")
        result = json.loads(self.ok("tokenize", "-m", self.start, "--lines", "--json", "-f", self.dir / "empty.txt"))
        self.assertEqual(len(result["rows"]), 1)
        (self.dir / "long.txt").write_bytes(b"x" * 3_000_000)
        self.fails(5, "embed", "-m", self.start, self.dir / "long.txt", "--max-line-bytes", "2M",
                   says=["2097152 bytes"])


def write():
    """Runs everything and writes the table."""
    case = type("Maker", (Kinds,), {"runTest": lambda self: None})()
    case.setUp()
    try:
        cells = case.build(ASK + LEARN + JUDGE)
    finally:
        case.tearDown()
    out = [BEGIN]
    for commands in (ASK, LEARN + JUDGE):
        out += ["", "| kind | " + " | ".join(f"`{c}`" for c in commands) + " |", "|---" * (len(commands) + 1) + "|"]
        for group in (SAME, REFUSED, ONE_BAD):
            out += [f"| {t} | " + " | ".join(cells[c, t] for c in commands) + " |" for t in group]
    text = DOCS.read_text(encoding="utf-8")
    DOCS.write_text(text[:text.index(BEGIN)] + "\n".join(out) + "\n\n" + text[text.index(END):], encoding="utf-8")


if __name__ == "__main__":
    if "--write" in sys.argv:
        support.PROGRAM = str(Path(sys.argv[1]).resolve())
        write()
    else:
        main()
