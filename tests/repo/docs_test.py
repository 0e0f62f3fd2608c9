"""The documentation: links, paths and commands hold, and the checkers find what is wrong."""
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import check_docs  # noqa: E402
import run_docs  # noqa: E402
from markdown import split  # noqa: E402


def problems_of(text, **others):
    with tempfile.TemporaryDirectory() as folder:
        for path, content in {"doc.md": text, "src/a.h": "", **others}.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return list(check_docs.check(Path(folder)))


class Links(unittest.TestCase):
    def test_project_is_right(self):
        self.assertEqual(list(check_docs.check(ROOT)), [])

    def test_right_ones_pass(self):
        self.assertEqual(problems_of(
            "# A head, `here`\n[x](src/a.h) [y](#a-head-here) [z](https://example.org/no)\n"
            "`src/a.h` `src/*.h` `src/{a}.h` `src/<name>.h` `./src/a.h` `other/x` `--flag`\n"
            "```text\n[not](a-link)\n```\n`Suite.HasThis` `Suite.And` `Runs.test_this` `a.b`\n",
            **{"src/a_test.cc": "TEST(Suite, HasThis) {\nTEST_F(Suite, And) {\n",
               "b_test.py": "class Runs(Case):\n    def test_this(self):\n"}), [])

    def test_wrong_ones_are_found(self):
        for text in ("[x](gone.md)", "[x](src/a.h#part)", "[x](#part)", "`src/b.h`",
                     "`cat src/b.h`", "`src/*.cc`", "`src/{a,b}.h`", "`Suite.HasNot`", "`Runs.test_that`", "see /" + "work/x",
                     "see `/" + "root/x`"):
            with self.subTest(text):
                self.assertEqual(len(problems_of(text + "\n")), 1)


class Index(unittest.TestCase):
    def test_pages_that_are_linked_in_steps_pass(self):
        self.assertEqual(problems_of("", **{"docs/index.md": "[a](guide/a.md#a)\n", "docs/b.md": "",
                                            "docs/guide/a.md": "# A\n[b](../b.md)\n"}), [])

    def test_pages_that_no_link_reaches_are_found(self):
        for index in ("", "```text\n[b](b.md)\n```\n"):
            with self.subTest(index):
                problem, = problems_of("[b](docs/b.md)\n", **{"docs/index.md": index, "docs/b.md": ""})
                self.assertIn("docs/b.md:1: no link leads here", problem)


class Comments(unittest.TestCase):
    """Paths in comments of C++ and CMake, from the root, src/, include/ or beside the file."""

    def test_right_ones_pass(self):
        self.assertEqual(problems_of("", **{
            "src/x/b.h": "// src/a.h a.h b.h doc.md longspan/c.h x/b.h src/x/*.h see a.h, b.h.\n"
                         "#include \"gone.h\"\nint a;  // no/path here, and foreach_target.h\n",
            "include/longspan/c.h": "// c.h\n", "src/CMakeLists.txt": "# a.h and X_bench.cc\n"}), [])

    def test_wrong_ones_are_found(self):
        for file, text in (("src/x/b.h", "// gone.h"), ("src/x/b.cc", "int a;  // src/gone/a.h"),
                           ("src/x/b.h", "// (docs/gone.md)"), ("src/CMakeLists.txt", "# gone.cc")):
            with self.subTest(text):
                problem, = problems_of("", **{file: text + "\n"})
                self.assertIn("gone", problem)


class Commands(unittest.TestCase):
    def outcome(self, text):
        block, = split("doc.md", text)[0]
        with run_docs.scratch_folder(None) as folder:
            return run_docs.run_block(block, folder, 2)

    def test_right_ones_pass(self):
        for text in ("```sh\necho only parsed; false\n```\n", "```sh test\ntest -e data\n```\n",
                     "```sh test exit=3\nexit 3\n```\n", "```text\n)(\n```\n",
                     "- ```sh test\n  true\n  ```\n".replace("- ", "  "),
                     "```cpp from examples/consumer/hello_attention.cc\nlongspan::Context context;\n```\n"):
            with self.subTest(text):
                self.assertIsNone(self.outcome(text))

    def test_wrong_ones_are_found(self):
        for text in ("```sh\nif true\n```\n", "```sh test\nfalse\ntrue\n```\n",
                     "```sh test exit=3\ntrue\n```\n", "```sh test\nsleep 9\n```\n",
                     "```sh test\necho $unset_variable\n```\n",
                     "```cpp from examples/consumer/hello_attention.cc\nint Gone();\n```\n"):
            with self.subTest(text):
                self.assertIsNotNone(self.outcome(text))

    def test_output_stays_outside_the_project(self):
        self.assertIsNone(self.outcome("```sh test\necho x > left-behind\n```\n"))
        self.assertFalse((ROOT / "left-behind").exists())

    def test_shown_output(self):
        printed = "saved run\nloss 5.27 after 0:06 | 1,234 tok/s\n\nlast   line\n"
        for shown in ("saved run\nloss 1.5 after 2:59 | 7 tok/s\n", "loss 5 after 0:01 ...\n",
                      "saved run\n...\nlast line\n", "...\nlast line\n"):
            with self.subTest(shown):
                self.assertIsNone(run_docs.output_problem(shown, printed))
        for shown in ("saved runs\n", "saved run\nlast line\n", "last line\nsaved run\n",
                      "loss five\n", "loss 5.27\n"):
            with self.subTest(shown):
                self.assertIn("not in the output", run_docs.output_problem(shown, printed))

    def test_shown_output_belongs_to_the_block_before(self):
        first, second = split("doc.md", "```sh test\necho a 1\n```\n```text output\na 2\n```\n")[0]
        with run_docs.scratch_folder(None) as folder:
            printed = []
            self.assertIsNotNone(run_docs.run_block(second, folder, 2, printed))
            self.assertIsNone(run_docs.run_block(first, folder, 2, printed))
            self.assertIsNone(run_docs.run_block(second, folder, 2, printed))

    def test_unclosed_block(self):
        with self.assertRaises(ValueError):
            split("doc.md", "```sh\ntrue\n")


class Version(unittest.TestCase):
    def test_is_the_same_everywhere(self):
        header = (ROOT / "include" / "longspan" / "version.h").read_text(encoding="utf-8")
        version = re.search(r'LONGSPAN_VERSION "(\d+)\.(\d+)\.(\d+)"', header)
        major, minor, patch = map(int, version.groups())
        number = re.search(r"LONGSPAN_VERSION_NUMBER (\d+)", header)
        self.assertEqual(int(number[1]), 10000 * major + 100 * minor + patch)
        text = f"{major}.{minor}.{patch}"
        self.assertIn(f"\nversion: {text}\n", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"^## \[([^\]]*)\]", changes, re.MULTILINE)[:2],
                         ["Unreleased", text])


class NamedOptions(unittest.TestCase):
    def test_the_page_has_every_name_that_is_read(self):
        read = set()
        for path in (ROOT / "src" / "train").glob("named_*.cc"):
            read |= set(re.findall(r'\.Read(?:Name)?\("(\w+)"', path.read_text()))
        page = (ROOT / "docs" / "reference" / "named_options.md").read_text()
        self.assertGreater(len(read), 100)
        self.assertEqual(read - set(re.findall(r"`(\w+)`", page)), set())


class Program(unittest.TestCase):
    def test_exit_status(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = Path(folder, "bad.md")
            bad.write_text("```sh\nif\n```\n")
            tool = ROOT / "tools" / "run_docs.py"
            run = subprocess.run([sys.executable, tool, bad], capture_output=True, text=True)
            self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
            self.assertIn("bad.md:1:", run.stdout)


if __name__ == "__main__":
    unittest.main()
