"""docs/reference/options.md is what the program's help says. usage: options_test.py [PROGRAM]"""
import os
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
            tool.write_text(f"#!/bin/sh\ncase $1 in\nsub) cat <<'E'\n{BELOW}E\n;;\n"
                            f"--help) cat <<'E'\n{HELP}E\n;;\n*) exit 2;;\nesac\n")
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


if __name__ == "__main__":
    unittest.main()
