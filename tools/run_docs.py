#!/usr/bin/env python3
"""Runs the commands of the documentation, so that what it says is what happens.

usage: run_docs.py [--program FILE] [--minilm DIR] [FILE.md...]   default: all Markdown files of the
                                                                  project

Code blocks, by the words behind the three back-quotes:
  sh              must be right by the shell's grammar; not run
  sh test         is run, and every command in it must succeed
  sh test exit=N  is run, and must end with status N
  LANGUAGE from PATH   must stand in that file word for word (indentation aside)
  text output     must be in what the block before it printed: the same lines in the same order.
                  Any number stands for any other, "..." for anything; a line "..." for any lines
The blocks of one file run one after the other in one scratch folder that looks like the project's
root: each of its files and folders is there as a link, and build/release/longspan is the program
that --program names; it can be called longspan, too. What a command writes stays in the scratch
folder. `minilm` stands for the model that the README downloads: it is the folder that --minilm
names, or else a small RoBERTa with random weights.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from markdown import ROOT, markdown_files, split
from stand_in import roberta


def scratch_folder(program, minilm=None):
    """A TemporaryDirectory that looks like the project's root after ./dev build."""
    scratch = tempfile.TemporaryDirectory(prefix="longspan-docs-")
    for entry in ROOT.iterdir():
        if entry.name not in ("build", ".git"):
            os.symlink(entry, Path(scratch.name, entry.name))
    if program:
        release = Path(scratch.name, "build", "release")
        release.mkdir(parents=True)
        os.symlink(Path(program).resolve(), release / "longspan")
    if minilm:
        os.symlink(Path(minilm).resolve(), Path(scratch.name, "minilm"))
    else:
        roberta(Path(scratch.name, "minilm"))
    return scratch


def shell(arguments, text, **options):
    return subprocess.run(["sh", *arguments], input=text, text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)


NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?::\d\d)*")


def pattern_of(line):
    """What a line of shown output stands for: any number for a number, any text for `...`."""
    parts = [re.escape(NUMBER.sub("0", part.strip())) for part in line.split("...")]
    return re.compile(".*".join(parts).replace(r"\ ", " "))


def plain(line):
    return re.sub(" +", " ", NUMBER.sub("0", line.strip()))


def output_problem(shown, printed):
    """None, or which shown line the printed text does not have in its place."""
    lines, at, free = [plain(line) for line in printed.splitlines()], 0, True
    for line in shown.splitlines():
        if line.strip() == "...":
            free = True
            continue
        pattern = pattern_of(re.sub(" +", " ", line))
        found = next((i for i in range(at, len(lines) if free else min(at + 1, len(lines)))
                      if pattern.fullmatch(lines[i])), None)
        if found is None:
            return f"this line is not in the output, or not in this place: {line}\n{printed}"
        at, free = found + 1, False
    return None


def run_block(block, folder, timeout_s, printed=None):
    """None, or what is wrong with the block. printed: a list with the output of the block before
    it, which becomes this block's."""
    printed = [] if printed is None else printed
    if block.language == "text" and block.words == ["output"]:
        if not printed:
            return "there is no output to compare with: no `sh test` block stands before this one"
        return output_problem(block.text, printed[-1])
    if block.words[:1] == ["from"]:
        file = ROOT / block.words[1]
        if not file.is_file():
            return f"{block.words[1]} does not exist"
        source = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        wanted = [line.strip() for line in block.text.strip().splitlines()]
        if not any(source[i:i + len(wanted)] == wanted for i in range(len(source))):
            return f"these lines do not stand in {block.words[1]}"
        return None
    if block.language != "sh":
        return None
    result = shell(["-n"], block.text)
    if result.returncode != 0:
        return result.stdout
    if "test" not in block.words:
        return None
    expected = next((int(w[5:]) for w in block.words if w.startswith("exit=")), 0)
    # -e only where success is expected: a block that shows a failure ends with it.
    environment = {k: v for k, v in os.environ.items() if k not in ("CDPATH", "ENV")}
    environment["PATH"] = os.path.join(folder, "build", "release") + os.pathsep + environment["PATH"]
    try:
        # As a file and not on stdin: the commands may read their stdin.
        script = Path(folder, ".block.sh")
        script.write_text(block.text)
        result = shell(["-eu" if expected == 0 else "-u", str(script)], "", cwd=folder,
                       env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"still running after {timeout_s} s"
    printed.append(result.stdout)
    if result.returncode != expected:
        return f"status {result.returncode}, expected {expected}:\n{result.stdout}"
    return None


def main():
    parser = argparse.ArgumentParser(usage=textwrap.dedent(__doc__))
    parser.add_argument("--program")
    parser.add_argument("--minilm")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one block")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    problems = ran = checked = 0
    for path in options.files or markdown_files():
        blocks = split(path, Path(ROOT, path).read_text(encoding="utf-8"))[0]
        with scratch_folder(options.program, options.minilm) as folder:
            printed = []
            for block in blocks:
                if {"test", "output"} & set(block.words) and not options.program:
                    continue
                problem = run_block(block, folder, options.timeout, printed)
                checked += block.language == "sh" or block.words[:1] in (["from"], ["output"])
                ran += "test" in block.words
                if problem:
                    problems += 1
                    print(f"{path}:{block.line}: {problem}")
    print(f"docs: {checked} blocks checked, {ran} of them run, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
