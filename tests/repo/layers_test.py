"""The layer checker: the project passes, and each kind of violation is found."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKER = ROOT / "tools" / "check_layers.py"


def run(root):
    result = subprocess.run([sys.executable, str(CHECKER), str(root)], capture_output=True,
                            text=True)
    return result.returncode, result.stdout


def tree(files):
    """A temporary project: {path: text}."""
    folder = tempfile.TemporaryDirectory()
    for path, text in files.items():
        file = Path(folder.name, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


GOOD = {
    "include/longspan/types.h": "#pragma once\n",
    "include/longspan/context.h": '#include "longspan/types.h"\n',
    "src/base/math.h": '#include "longspan/types.h"\n',
    "src/parallel/context.cc": '#include "longspan/context.h"\n#include "base/math.h"\n#include <omp.h>\n',
    "src/ops/a/a.h": '#include "base/math.h"\n#include <vector>\n',
    "src/ops/a/a.cc": '#include "ops/a/a.h"\n#include "a-inl.h"\n',
    "src/ops/a/a-inl.h": "",
    "src/ops/a/a_test.cc": '#include "ops/a/a.h"\n#include "tests/support/compare.h"\n',
    "src/ops/b/b.h": "",
    "src/gemm/gemm.cc": "#include <dnnl.hpp>\n",
    "src/model/m.h": '#include "ops/a/a.h"\n#include "ops/b/b.h"\n',
    "src/lab/l.h": '#include "model/m.h"\n',
    "cli/main.cc": '#include "longspan/types.h"\n#include <CLI/CLI.hpp>\n',
    "cli/lab/cmd_l.cc": '#include "lab/l.h"\n#include "longspan/types.h"\n',
    "python/src/call.h": '#include "longspan/context.h"\n#include <nanobind/nanobind.h>\n',
    "python/src/core.cc": '#include "call.h"\n',
    "tests/support/compare.h": '#include "model/m.h"\n',
}


class Layers(unittest.TestCase):
    def test_project_passes(self):
        status, output = run(ROOT)
        self.assertEqual(status, 0, output)

    def test_good_tree_passes(self):
        with tree(GOOD) as folder:
            status, output = run(folder)
            self.assertEqual(status, 0, output)

    def test_violations_are_found(self):
        planted = {
            "src/base/bad.h": ('#include "model/m.h"\n', "layer base includes src/model/m.h"),
            "src/base/up.h": ('#include "longspan/context.h"\n', "higher layer parallel"),
            "include/longspan/error.h": ('#include "ops/a/a.h"\n', "higher layer ops"),
            "src/ops/b/b.cc": ('// text\n#include "ops/a/a.h"\n', "b.cc:2: mechanism b includes"),
            "src/ops/b/b_test.cc": ('#include "ops/a/a.h"\n', "mechanism b includes mechanism a"),
            "src/ops/b/c.cc": ('#include "../a/a.h"\n', "mechanism b includes mechanism a"),
            "src/ops/a/g.cc": ("#include <oneapi/dnnl/dnnl.hpp>\n", "belongs to src/gemm alone"),
            "src/model/omp.cc": ("# include <omp.h>\n", "belongs to src/parallel and src/gemm alone"),
            "src/train/log.cc": ("#include <CLI/CLI.hpp>\n", "belongs to cli alone"),
            "src/train/t.cc": ('#include "tests/support/compare.h"\n', "is for tests only"),
            "cli/in.cc": ('#include "model/m.h"\n', "src/model/m.h is not installed"),
            "cli/l.cc": ('#include "lab/l.h"\n', "src/lab/l.h is not installed"),
            "python/src/in.cc": ('#include "model/m.h"\n', "src/model/m.h is not installed"),
            "python/src/c.cc": ('#include "cli/main.h"\n#include "cli/main.cc"\n', "cli/main.cc is not"),
            "src/train/nb.cc": ("#include <nanobind/nanobind.h>\n", "belongs to python/src alone"),
            "src/extra/x.cc": ("\n", "'extra' is not in the list"),
            "include/longspan/odd.h": ("\n", "unknown public header"),
            "src/ops/a/ghost.h": ('#include "longspan/ghost.h"\n', "does not exist"),
        }
        for path, (text, expected) in planted.items():
            with self.subTest(path), tree({**GOOD, path: text}) as folder:
                status, output = run(folder)
                self.assertEqual(status, 1, output)
                self.assertIn(expected, output)
                self.assertIn("1 problems", output)

    def test_empty_tree_is_no_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run(folder)[0], 1)


if __name__ == "__main__":
    unittest.main()
