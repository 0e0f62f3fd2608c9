"""The hooks that ./dev hooks turns on, on messages and on a tree of their own."""
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "tools" / "hooks"


class Hooks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="longspan-hooks-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def message(self, text):
        file = self.folder / "message"
        file.write_text(text, encoding="utf-8")
        run = subprocess.run([HOOKS / "commit-msg", file], text=True, capture_output=True)
        return run.returncode, run.stderr

    def test_are_executable(self):
        for name in ("pre-commit", "commit-msg"):
            self.assertTrue(os.access(HOOKS / name, os.X_OK), name)
            self.assertEqual(subprocess.run(["sh", "-n", HOOKS / name]).returncode, 0)

    def test_subject(self):
        for good in ("train: a failed save ends nothing\n", "io, data: both\n\nMore text.\n",
                     "# a comment\n\nio: " + "x" * 96, "Merge branch 'a'\n", "docs: \u00e9" + "x" * 93):
            self.assertEqual(self.message(good), (0, ""), good)
        status, errors = self.message("io: " + "x" * 97)
        self.assertEqual(status, 1)
        self.assertIn("has 101 characters", errors)
        status, errors = self.message("fixed a bug\n")
        self.assertEqual(status, 1)
        self.assertIn("area: effect", errors)

    def git(self, *words):
        return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
                              cwd=self.folder, text=True, capture_output=True)

    def test_layers_and_format_before_a_commit(self):
        (self.folder / "tools").mkdir()
        shutil.copy(ROOT / "tools" / "check_layers.py", self.folder / "tools")
        shutil.copy(ROOT / ".clang-format", self.folder)
        (self.folder / "src" / "base").mkdir(parents=True)
        source = self.folder / "src" / "base" / "a.h"
        self.git("init", "-q")
        self.git("config", "core.hooksPath", HOOKS)
        (self.folder / "src" / "model").mkdir()
        (self.folder / "src" / "model" / "m.h").write_text("#pragma once\n")
        source.write_text('#pragma once\n#include "model/m.h"\n')
        self.git("add", ".")
        run = self.git("commit", "-m", "base: includes a higher layer")
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("layer base includes", run.stdout + run.stderr)
        source.write_text("#pragma once\n")
        self.git("add", ".")
        run = self.git("commit", "-m", "base: includes nothing")
        self.assertEqual(run.returncode, 0, run.stderr)
        if shutil.which("clang-format-14"):
            source.write_text("#pragma once\nint   a ;\n")
            self.git("add", ".")
            run = self.git("commit", "-m", "base: a line without form")
            self.assertNotEqual(run.returncode, 0)
            self.assertIn("./dev format", run.stderr)


if __name__ == "__main__":
    unittest.main()
