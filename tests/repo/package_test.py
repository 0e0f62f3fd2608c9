"""The installed library: installs to a temporary prefix, then builds and runs the consumer of
examples/ against it, through CMake and through pkg-config.

usage: package_test.py BUILD CMAKE COMPILER FLAGS
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD, CMAKE, COMPILER, FLAGS = (sys.argv[1:5] + [""])[:4]  # CMake drops empty flags


def run(*command, **options):
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            **options)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\n{result.stdout}")
    return result.stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="longspan-package-")
        cls.addClassCleanup(cls.scratch.cleanup)
        first = Path(cls.scratch.name, "first")
        run(CMAKE, "--install", BUILD, "--prefix", first, "--component", "library")
        # The package must not remember where it was installed to.
        cls.prefix = Path(cls.scratch.name, "prefix")
        first.rename(cls.prefix)

    def test_headers_are_complete(self):
        installed = {p.name for p in (self.prefix / "include" / "longspan").iterdir()}
        self.assertEqual(installed, {p.name for p in (ROOT / "include" / "longspan").iterdir()})
        # Each stands alone, and needs nothing that is not installed.
        for header in sorted(installed):
            probe = Path(self.scratch.name, "probe.cc")
            probe.write_text(f'#include "longspan/{header}"\n')
            run(COMPILER, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                f"-I{self.prefix}/include", probe)

    def test_no_trace_of_the_build(self):
        for file in self.prefix.rglob("*"):
            if file.suffix in (".cmake", ".pc", ".h"):
                text = file.read_text()
                self.assertNotIn(str(ROOT), text, file)
                self.assertNotIn(BUILD, text, file)

    def test_cmake_consumer(self):
        build = Path(self.scratch.name, "build")
        run(CMAKE, "-G", "Ninja", "-S", ROOT / "examples" / "consumer", "-B", build,
            f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_COMPILER={COMPILER}",
            f"-DCMAKE_CXX_FLAGS={FLAGS}", "-DCMAKE_BUILD_TYPE=Release")
        run(CMAKE, "--build", build)
        self.assertIn("attention is right", run(build / "hello_attention"))

    @unittest.skipUnless(shutil.which("pkg-config"), "no pkg-config")
    def test_pkg_config_consumer(self):
        folder, = self.prefix.rglob("pkgconfig")
        environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
        flags = run("pkg-config", "--cflags", "--libs", "longspan", env=environment).split()
        program = Path(self.scratch.name, "hello")
        run(COMPILER, *FLAGS.split(), ROOT / "examples" / "consumer" / "hello_attention.cc", "-o", program,
            *flags)
        self.assertIn("attention is right", run(program))
        version = run("pkg-config", "--modversion", "longspan", env=environment).strip()
        self.assertIn(f"longspan {version},", run(program))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
