#!/usr/bin/env python3
"""Runs the commands of the documentation, so that what it says is what happens.

usage: run_docs.py [--program FILE] [FILE.md...]      default: all Markdown files of the project

Code blocks, by the words behind the three back-quotes:
  sh              must be right by the shell's grammar; not run
  sh test         is run, and every command in it must succeed
  sh test exit=N  is run, and must end with status N
  cpp from PATH   must stand in that file word for word (indentation aside)
The blocks of one file run one after the other in one scratch folder that looks like the project's
root: each of its files and folders is there as a link, and build/release/longspan is the program
that --program names. What a command writes stays in the scratch folder.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from markdown import ROOT, markdown_files, split


def scratch_folder(program):
    """A TemporaryDirectory that looks like the project's root after ./dev build."""
    scratch = tempfile.TemporaryDirectory(prefix="longspan-docs-")
    for entry in ROOT.iterdir():
        if entry.name not in ("build", ".git"):
            os.symlink(entry, Path(scratch.name, entry.name))
    if program:
        release = Path(scratch.name, "build", "release")
        release.mkdir(parents=True)
        os.symlink(Path(program).resolve(), release / "longspan")
    return scratch


def shell(arguments, text, **options):
    return subprocess.run(["sh", *arguments], input=text, text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)


def run_block(block, folder, timeout_s):
    """None, or what is wrong with the block."""
    if block.language == "cpp" and block.words[:1] == ["from"]:
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
    try:
        # As a file and not on stdin: the commands may read their stdin.
        script = Path(folder, ".block.sh")
        script.write_text(block.text)
        result = shell(["-eu" if expected == 0 else "-u", str(script)], "", cwd=folder,
                       env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"still running after {timeout_s} s"
    if result.returncode != expected:
        return f"status {result.returncode}, expected {expected}:\n{result.stdout}"
    return None


def main():
    parser = argparse.ArgumentParser(usage=textwrap.dedent(__doc__))
    parser.add_argument("--program")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one block")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    problems = ran = checked = 0
    for path in options.files or markdown_files():
        blocks = split(path, Path(ROOT, path).read_text(encoding="utf-8"))[0]
        with scratch_folder(options.program) as folder:
            for block in blocks:
                if "test" in block.words and not options.program:
                    continue
                problem = run_block(block, folder, options.timeout)
                checked += block.language in ("sh", "cpp")
                ran += "test" in block.words
                if problem:
                    problems += 1
                    print(f"{path}:{block.line}: {problem}")
    print(f"docs: {checked} blocks checked, {ran} of them run, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
