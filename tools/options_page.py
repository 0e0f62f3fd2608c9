#!/usr/bin/env python3
"""Writes docs/reference/options.md from the program's own help, `longspan help --all`.

usage: options_page.py PROGRAM            prints the page
       options_page.py PROGRAM --write    writes docs/reference/options.md

The reader follows these rules only, so that the help may be laid out in any way that keeps them:
- A heading is a line without indentation that ends with a colon. One with a bracket refers to
  another page, and its lines are no entries.
- An entry is a line that begins with two blanks, then a name, then two or more blanks and a
  description. A description may also begin or go on in later lines that are indented further.
- A name that begins with "-" is an option. A name that the program knows as a command is a
  command. A name that the line "Usage:" has is an argument.
- Headings that begin with "Example" end the entries.
"""
import re
import subprocess
import sys
from pathlib import Path

from markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "options.md"
TOP = """# Commands and options
<!-- Written by tools/options_page.py from the program's help. Do not edit this page. -->
This page holds what `longspan help --all COMMAND` prints about commands, arguments and options. The help has examples, too. It prints
options that are seldom needed only with `--all`.
Options of the first table stand before or after any command.
"""
ENTRY = re.compile(r"^  (\S.*?)(?: {2,}(\S.*))?$")


def help_of(program, words):
    """The help page of a command, or "" when the program does not know it."""
    run = subprocess.run([program, "help", "--all", *words], capture_output=True, text=True, check=False)
    usage = re.search(r"^\s*Usage: *(.*)$", run.stdout, re.MULTILINE)
    known = usage and usage[1].split()[1:1 + len(words)] == list(words)
    return run.stdout if run.returncode == 0 and known else ""


def entries(page):
    """(heading, name, description) of each entry of a help page."""
    heading, found = "", []
    for line in page.splitlines():
        if re.match(r"\S.*:$", line):
            heading = "" if "(" in line else line[:-1]
        if heading.startswith("Example"):
            break
        entry = ENTRY.match(line)
        if entry and heading:
            found.append([heading, entry[1], entry[2] or ""])
        elif found and line.startswith("   ") and line.strip():
            found[-1][2] = f"{found[-1][2]} {line.strip()}".strip()
        elif line.strip() and not line.startswith(" ") and not line.endswith(":"):
            heading = ""
    return found


def first_sentence(page):
    """What stands before "Usage:", or the first line after it."""
    before = [line.strip() for line in page.split("Usage:")[0].splitlines() if line.strip()]
    after = [line.strip() for line in page.split("Usage:")[-1].splitlines()[1:] if line.strip()]
    return " ".join(before) or (after or [""])[0]


def cell(text):
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def section(program, words, depth):
    """The Markdown of a command and of those below it; "" where there is none."""
    page = help_of(program, words)
    usage = (re.search(r"Usage: *(.*)", page) or ["", ""])[1]
    options, below = [], []
    for heading, name, meaning in entries(page):
        if name.startswith("-"):
            if not re.match(r"(-h, *)?--help", name):
                options.append((name, meaning))
        elif re.fullmatch(r"[a-z][a-z0-9-]*", name) and help_of(program, [*words, name]):
            below.append(name)
        elif re.search(rf"[\[ <]{re.escape(name.split()[0].rstrip('.'))}\b", usage, re.IGNORECASE):
            options.append((name, meaning))
    title = " ".join(words) or "All commands"
    lines = [f"{'#' * depth} {title}", "" if not words else cell(first_sentence(page)), ""]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{cell(name)}` | {cell(meaning).replace('<', '&lt;')} |" for name, meaning in options] + [""]
    lines += [section(program, [*words, name], min(depth + 1, 3) if words else 2) for name in below]
    return "\n".join(lines)


def page_of(program):
    text = TOP + "\n" + section(program, [], 2)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


if __name__ == "__main__":
    result = page_of(str(Path(sys.argv[1]).resolve()))
    if "--write" in sys.argv:
        PAGE.write_text(result, encoding="utf-8")
    else:
        print(result, end="")
