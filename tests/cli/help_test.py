#!/usr/bin/env python3
"""The pages of help: every one is found by reading the pages above it.

usage: help_test.py PROGRAM [TestClass...]
"""
import json
import os
import pty
import re
import shlex
import shutil
import subprocess

import help_files
import support
from support import Case, run, unless_sanitized

COLUMNS, OPTION_LINES = 100, 48
# Their examples take minutes; other tests run these commands (cli.Demo, cli.LongEvidence, and
# cli.Results for compare).
MINUTES = (("demo",), ("long-evidence",), ("compare",))
NUMBERS = re.compile(r"^(number|rows|tokens|steps|seed|longest|heads|layers|positions)\b", re.I)


class Page:
    def __init__(self, path):
        self.path = path
        result = run("help", *path)
        assert result.returncode == 0, result.stderr
        self.text = result.stdout
        self.lines = self.text.splitlines()
        self.sections = {}
        for line in self.lines:
            if line.startswith("Options of every command ("):
                section = []  # explained on the first page
            elif re.match(r"^[A-Z][^ ].*:$", line):
                section = self.sections.setdefault(line[:-1], [])
            elif line.startswith("  ") and self.sections:
                section.append(line)

    def commands(self):
        """Names of the commands that the page lists."""
        if not self.path:
            lists = [v for k, v in self.sections.items()
                     if k not in ("Examples", "Options of every command")]
        else:
            lists = [self.sections.get("Commands", [])]
        return [line.split()[0] for lines in lists for line in lines if line[2:3].islower()]

    def entries(self):
        """(names, description) of each option and argument."""
        found = []
        for name, lines in self.sections.items():
            if name in ("Examples", "Commands", "Kinds") or (not self.path and "-" not in lines[0]):
                continue
            for line in lines:
                if line[2] != " ":
                    names, _, description = line[2:].partition("  ")
                    found.append([names, description.strip()])
                else:
                    found[-1][1] = (found[-1][1] + " " + line.strip()).strip()
        return found

    def examples(self):
        """The commands, without the remarks behind them."""
        return [re.sub(r"   +\S.*$", "", line[2:]) for line in self.sections["Examples"]]


def pages(path=()):
    page = Page(path)
    found = [page]
    for name in page.commands():
        found += pages((*path, name))
    return found


class Pages(Case):
    def test_form(self):
        all_pages = pages()
        self.assertGreater(len(all_pages), 36)
        self.assertIn(("train", "lm"), [page.path for page in all_pages])
        for page in all_pages:
            with self.subTest(page=page.path):
                self.assertLessEqual(max(map(len, page.lines)), COLUMNS)
                self.assertRegex(page.lines[0], r"^[A-Zl].*\.$")
                self.assertIn("Examples", page.sections)
                name = "longspan " + " ".join(page.path)
                self.assertTrue(any(name in example for example in page.examples()))
                self.assertEqual(run(*page.path, "--help").stdout, page.text)
                if page.path:
                    self.check_options(page)

    def check_options(self, page):
        lines = sum(map(len, (v for k, v in page.sections.items()
                              if k not in ("Examples", "Commands"))))
        self.assertLessEqual(lines, OPTION_LINES)
        for names, description in page.entries():
            self.assertRegex(description, r"^\S+ \S+", names)  # a phrase, not a word
            self.assertFalse(description.startswith("of "), names)
            if names.endswith(" TEXT"):
                self.assertNotRegex(description, NUMBERS, names)
            for type_name in (" INT", " UINT", " FLOAT", "ENUM"):
                self.assertNotIn(type_name, names)

    def test_every_option_on_one_page(self):
        self.assertIn("'longspan help --all train classify' describes", self.ok("help", "train", "classify"))
        self.assertIn("'longspan help --all train lm' lists all", self.ok("help", "--all"))
        page = self.ok("help", "--all", "train", "lm")
        for name in ("--beta1 X", "--max-time TIME", "--config TOML", "--freeze NAME,NAME", "--tensorboard", "--format"):
            self.assertIn(f"\n  {name}", page)
        self.assertIn("\nMore options:\n", page)
        self.assertNotIn("More options", self.ok("help", "train", "lm"))

    def test_help_of_what_there_is_not(self):
        self.fails(2, "help", "trian", says=["no command 'trian'", "did you mean 'train'?"])
        self.fails(2, "help", "train", "ml", says=["no command 'train ml'", "'train lm'"])

    def test_alone(self):
        alone = run()
        self.assertEqual((alone.returncode, alone.stderr), (0, ""))
        self.assertEqual(alone.stdout, run("--help").stdout)
        for group in ("Start", "Ask a model", "Train", "Understand", "Check", "Tools for experts"):
            self.assertIn(f"\n{group}:\n", alone.stdout)


class Typos(Case):
    def test_commands(self):
        self.fails(2, "trian", says=["there is no command 'trian'; did you mean 'train'?"])
        self.fails(2, "trian", "lm", says=["did you mean 'train'?"])
        self.fails(2, "lm", "-m", "x", says=["did you mean 'train lm'?"])
        self.fails(2, "train", "lmm", says=["no command 'train lmm'; did you mean 'train lm'?"])
        self.fails(2, "train", "xyzzy", says=["no command 'train xyzzy'; train has: lm, mlm"])
        self.fails(2, "train", says=["a command is missing: lm, mlm, classify"])
        self.fails(2, "xyzzy", says=["no command 'xyzzy'", "'longspan help'"])
        self.fails(2, "--threads", "2", says=["no command is given"])

    def test_options(self):
        self.fails(2, "train", "lm", "--mdoel", "x",
                   says=["there is no option --mdoel; did you mean --model?",
                         "'longspan help train lm'"])
        self.fails(2, "train", "lm", "--mdoel=x", says=["--mdoel; did you mean --model?"])
        self.fails(2, "info", self.start, "--thraeds", "2", says=["did you mean --threads?"])
        self.fails(2, "info", self.start, "--zzz", "--tensor", "--yyy",
                   says=["no options --zzz, --tensor; did you mean --tensors?, --yyy"])
        self.fails(2, "info", self.start, "-x", says=["no option -x"])
        # What a value looks like does not matter.
        self.fails(2, "generate", "-m", self.start, "-p", "--mdoel", "--foo", says=["option --foo"])
        self.fails(2, "train", "lm", says=["train lm: --model is required"])
        self.fails(2, "info", self.start, self.start, says=["there is no argument", "start"])

    def test_values_are_refused_in_words(self):
        train = ["train", "lm", "-m", self.start, "--train", self.text, "-o", self.dir / "run"]
        for words, says in (
                ([*train, "--steps", "1e9"], "--steps: '1e9' is no number"),
                ([*train, "--dtype", "fp16"], "--dtype: fp16 is unknown, need one of f32"),
                (["completion", "zsh"], "zsh is unknown, need one of bash"),
                (["plan", "--tokens", "abc"], "abc is not from 1 to"),
                (["pattern", "--kind", "foo"], "overview"),
                ([*train, "--dropout", "1"], "--dropout: 1 is not from 0 to 0.99 ("),
                ([*train, "--head-lr", "101.5"], "--head-lr: 101.5 is not from 0 to 100 ("),
                (["help", "-t"], "--threads: a value is missing")):
            self.fails(2, *words, says=[says])

    def test_suggestions_stay_near(self):
        message = run("info", self.start, "--qqqqqq").stderr
        self.assertNotIn("did you mean", message)


def little_of(example, words):
    """The example with less to compute, where what it times or learns says nothing here."""
    if words[1:2] in (["bench"], ["puzzle"]):
        example = re.sub(r"--tokens (512|1024|2048)\b", "--tokens 256", example)
    if words[1:2] == ["bench"]:
        if words[2] in ("attention", "bf16", "forward", "train"):
            example = re.sub(r" --steps \d+", "", example) + " --steps 1"
    if words[1:2] == ["puzzle"]:
        example = re.sub(r"--(steps|short-steps|rows) [1-9]\d*", r"--\1 1", example)
        if "--batch" not in words:
            example += " --batch 1"
    return example


class Examples(Case):
    """Every example of every page runs, one page after the other, each in files of its own."""

    def setUp(self):
        super().setUp()
        self.prepared = self.dir / "prepared"
        self.prepared.mkdir()
        help_files.prepare(self.prepared, support.PROGRAM)
        program = self.dir / "bin"
        program.mkdir()
        (program / "longspan").symlink_to(support.PROGRAM)
        self.environment = dict(os.environ, PATH=f"{program}:{os.environ['PATH']}")

    def run_page(self, page):
        folder = self.dir / "-".join(("page", *page.path))
        shutil.copytree(self.prepared, folder, symlinks=True)
        for example in page.examples():
            words = shlex.split(example)
            if tuple(words[1:2]) in MINUTES:
                continue  # on the first page of all
            example = little_of(example, words)
            written = words[words.index("-o") + 1] if "-o" in words else None
            if "convert" in words:
                written = words[3]
            if written:
                shutil.rmtree(folder / written, ignore_errors=True)
            done = subprocess.run(["bash", "-c", example], cwd=folder, env=self.environment,
                                  capture_output=True, text=True, errors="replace", timeout=300)
            self.assertEqual(done.returncode, 0, f"{example}\n{done.stdout}{done.stderr}")
        shutil.rmtree(folder)

    @unless_sanitized
    def test_examples(self):
        for page in pages():
            if page.path not in MINUTES:
                with self.subTest(page=page.path):
                    self.run_page(page)


class Completion(Case):
    def complete(self, *words):
        """What bash offers behind these words, of which the last one is begun."""
        script = ('eval "$("$0" completion bash)"; COMP_WORDS=(longspan "$@"); COMP_CWORD=$#; '
                  '_longspan; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, support.PROGRAM, *words], cwd=self.dir,
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def test_bash(self):
        self.assertEqual(self.complete("tra"), ["train"])
        self.assertEqual(self.complete("train", ""),
                         ["lm", "mlm", "classify", "token-classify", "qa", "multiple-choice", "embed",
                          "rerank", *self.files()])
        self.assertEqual(self.complete("train", "lm", "--tok"), ["--tokenizer", "--tokens"])
        self.assertIn("--threads", self.complete("info", "--t"))
        self.assertEqual(self.complete("info", "tex"), ["text.txt"])
        self.assertEqual(self.complete("-t", "2", "in"), ["init", "info"])
        self.assertEqual(self.complete("--ver"), ["--version"])
        (self.dir / "my run").mkdir()
        self.assertEqual(self.complete("info", "-m", "my"), ["my run"])
        self.assertEqual(self.complete("help", "tra"), ["train"])
        self.assertEqual(self.complete("help", "train", "tok"), ["token-classify"])
        self.fails(2, "completion", "fish", says=["fish"])

    def files(self):
        return sorted(path.name for path in self.dir.iterdir())


class Env(Case):
    def test_env(self):
        environment = dict(os.environ, LONGSPAN_THREADS="1", LONGSPAN_ISA="sse4")
        text = self.ok("env", env=environment)
        for words in ("longspan 0.", "threads: 1 (LONGSPAN_THREADS)",
                      "kernels: sse4 (LONGSPAN_ISA)",
                      "LONGSPAN_ISA=sse4", "onednn 2."):
            self.assertIn(words, text)
        report = json.loads(self.ok("env", "--json", "-t", "2", "--memory", "1G"))
        self.assertEqual((report["threads"], report["threads_from"]), (2, "--threads"))
        self.assertEqual((report["memory_limit_bytes"], report["memory_limit_from"]),
                         (1 << 30, "--memory"))
        self.assertIn(f"bf16 in attention: {report['bf16']}, in dense layers: ", self.ok("env"))
        for library in ("onednn", "highway", "fmt", "nlohmann_json", "cli11", "zlib", "zstd"):
            self.assertRegex(report["libraries"][library], r"^\d+\.\d+")
        self.assertNotEqual(report["cpu"], "unknown")
        self.assertRegex(report["build_type"], r"^\w+$")

    def test_dense_path(self):
        def environment(path):
            return dict(os.environ, LONGSPAN_DENSE=path)
        dense = json.loads(self.ok("env", "--json"))["bf16_dense"]
        self.assertIn(dense, ("widen", "onednn"))
        for path, expected in (("", dense), ("onednn", dense), ("tiles_twin", "tiles_twin")):
            report = json.loads(self.ok("env", "--json", env=environment(path)))
            self.assertEqual(report["bf16_dense"], expected)
        self.fails(2, "env", env=environment("mkl"), says=["LONGSPAN_DENSE: 'mkl'", "tiles_twin"])
        capped = dict(environment("tiles"), LONGSPAN_ISA="avx2")
        self.fails(2, "env", env=capped, says=["LONGSPAN_DENSE: 'tiles' needs amx", "onednn"])


class JsonFailures(Case):
    def failure(self, code, *words):
        result = run(*words)
        self.assertEqual((result.returncode, result.stdout), (code, ""))
        error = json.loads(result.stderr)["error"]
        self.assertEqual(error["code"], code)
        return error

    def test_failures(self):
        error = self.failure(3, "eval", "--json", "-m", self.start, self.text, "--format", "json")
        self.assertEqual(error["kind"], "bad_data")
        self.assertIn("text.txt", error["message"])
        self.assertEqual(self.failure(2, "trian", "--json")["kind"], "usage")
        self.assertIn("required", self.failure(2, "--json", "train", "lm")["message"])
        self.assertEqual(self.failure(4, "--json", "convert", self.dir / "none", self.dir / "out")["kind"], "io")
        self.assertIn("--modle", self.failure(2, "eval", "--modle", "x", "--json")["message"])
        self.assertEqual(self.failure(4, "convert", self.dir / "none", self.dir / "out",
                                      "--json")["kind"], "io")


class Silence(Case):
    """On a terminal, work that takes longer than a second shows that it goes on."""

    def on_terminal(self, *words):
        main, side = pty.openpty()
        child = subprocess.Popen([support.PROGRAM, *map(str, words)], stdout=subprocess.DEVNULL,
                                 stderr=side, env={**os.environ, "TERM": "xterm", "CI": ""})
        os.close(side)
        shown = b""
        while True:
            try:
                piece = os.read(main, 4096)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        os.close(main)
        self.assertEqual(child.wait(), 0, shown)
        return shown.decode(errors="replace")

    @unless_sanitized
    def test_generate_shows_that_it_works(self):
        model = self.dir / "small"
        self.ok("init", "--preset", "small", "-o", model)
        words = ["generate", "-m", model, "--batch", "1", "--no-cache", "--tokens", "300", "-t", "1"]
        for prompt in "ab":
            words += ["-p", prompt]
        shown = self.on_terminal(*words)
        self.assertIn("writing: 1 s", shown)
        self.assertTrue(shown.endswith("\x1b[K"), shown)  # the line is erased
        self.assertEqual(run(*words).stderr, "")  # no terminal: nothing


if __name__ == "__main__":
    support.main()
