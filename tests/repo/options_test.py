"""docs/reference/options.md is what the program's help says. usage: options_test.py [PROGRAM]"""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import options_page  # noqa: E402

if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
    os.environ["LONGSPAN_PROGRAM"] = str(Path(sys.argv.pop(1)).resolve())

HELP = """does things
Usage: tool [OPTIONS] in [more...] [COMMAND]

Options:
  -h,--help                Print this help
  -m,--model DIR           the model
  --a-name-longer-than-its-column N
                           its meaning
                           goes on

Model:
  in FILE                  a file|a folder
  more...                  other files

Commands:
  sub                      a command
  none                     not a command

Options of every command (another page explains them):
  -t N  --memory SIZE

Examples:
  tool -m DIR              not an option
Some words behind.
"""
BELOW = "what sub does\nUsage: tool sub\n\nOptions:\n  -h,--help  help\n  -x   one\n"


class Reader(unittest.TestCase):
    def page(self):
        with tempfile.TemporaryDirectory() as folder:
            tool = Path(folder, "tool")
            tool.write_text(f"#!/bin/sh\ncase $1$2$3 in\nhelp--allsub) cat <<'E'\n{BELOW}E\n;;\n"
                            f"help--all) cat <<'E'\n{HELP}E\n;;\n*) exit 2;;\nesac\n")
            os.chmod(tool, 0o755)
            return options_page.page_of(str(tool))

    def test_options_arguments_and_commands_are_found(self):
        page = self.page()
        for line in ("| `-m,--model DIR` | the model |", "| `in FILE` | a file\\|a folder |", "| `more...` | other files |",
                     "| `--a-name-longer-than-its-column N` | its meaning goes on |", "## sub",
                     "what sub does", "| `-x` | one |"):
            with self.subTest(line):
                self.assertIn(line + "\n", page)

    def test_nothing_else_is(self):
        for word in ("Print this", "none", "not an option", "words behind", "-t N"):
            with self.subTest(word):
                self.assertNotIn(word, self.page())


class Page(unittest.TestCase):
    @unittest.skipUnless("LONGSPAN_PROGRAM" in os.environ, "no program was given")
    def test_is_what_the_help_says(self):
        self.maxDiff = None
        written = options_page.PAGE.read_text(encoding="utf-8").splitlines()
        now = options_page.page_of(os.environ["LONGSPAN_PROGRAM"]).splitlines()
        self.assertEqual(written, now, "run tools/options_page.py PROGRAM --write")

    @unittest.skipUnless("LONGSPAN_PROGRAM" in os.environ, "no program was given")
    def test_has_every_option_that_the_parser_knows(self):
        sections, title = {}, None
        for line in options_page.PAGE.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                title = line.lstrip("# ")
            elif line.startswith("| `"):
                sections.setdefault(title, set()).update(re.findall(r"--[a-z][a-z0-9-]*", line.split("` |")[0]))
        script = subprocess.run([os.environ["LONGSPAN_PROGRAM"], "completion", "bash"],
                                capture_output=True, text=True, check=True).stdout
        known = re.findall(r'\["([^"]+)"\]="([^"]*)"', script.split("options=(")[1])
        self.assertGreater(len(known), 30)
        for command, options in known:
            words = command.split()
            listed = sections["All commands"].union(
                *(sections.get(" ".join(words[:n + 1]), set()) for n in range(len(words))))
            with self.subTest(command):
                self.assertEqual(set(options.split()) - listed - {"--help"}, set())


if __name__ == "__main__":
    unittest.main()
