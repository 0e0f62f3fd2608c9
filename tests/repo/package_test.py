"""The installed library: installs to a temporary prefix, then builds and runs the examples against
it, through CMake, pkg-config and plain flags, and finds in it what the program's commands include.

usage: package_test.py BUILD CMAKE COMPILER FLAGS
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "consumer"
BUILD, CMAKE, COMPILER, FLAGS = (sys.argv[1:5] + [""])[:4]  # CMake drops empty flags
C_COMPILER = COMPILER.replace("clang++", "clang").replace("g++", "gcc").replace("c++", "cc")
# The library is looked for beside the flags of the build that made it.
SANITIZED = "-fsanitize" in FLAGS


def run(*command, **options):
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            **options)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\n{result.stdout}")
    return result.stdout


def named(symbol):
    """The name that a demangled symbol declares, without what it returns, takes and is made of."""
    symbol = symbol.replace("(anonymous namespace)", "")
    while (plain := re.sub(r"<[^<>]*>", "", symbol)) != symbol:
        symbol = plain
    return symbol.split("(")[0].removesuffix(" const").split(" ")[-1]


def rows_of(npy):
    """The rows of a .npy file of fp32 values."""
    data = npy.read_bytes()
    assert data.startswith(b"\x93NUMPY\x01\x00"), data[:8]
    rows, width = map(int, re.search(rb"'shape': \((\d+), (\d+)\)", data).groups())
    values = struct.unpack_from(f"<{rows * width}f", data, 128)
    return [values[r * width:(r + 1) * width] for r in range(rows)]


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="longspan-package-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = Path(scratch.name)
        first = cls.scratch / "first"
        run(CMAKE, "--install", BUILD, "--prefix", first, "--component", "library")
        # The package must not remember where it was installed to.
        cls.prefix = cls.scratch / "prefix"
        first.rename(cls.prefix)
        cls.headers = cls.prefix / "include" / "longspan"
        cls.shared, = cls.prefix.rglob("liblongspan.so")
        cls.environment = {**os.environ, "LD_LIBRARY_PATH": str(cls.shared.parent)}
        program = Path(BUILD, "longspan")
        cls.words = cls.scratch / "words"
        run(program, "init", "--preset", "tiny", "-o", cls.words)
        cls.judge = cls.scratch / "judge"
        run(program, "init", "--arch", "longformer", "--preset", "tiny", "--head", "classify",
            "--labels", "calm,storm", "--tokenizer", ROOT / "tests/tokenizers/roberta", "-o",
            cls.judge)
        cls.texts = cls.scratch / "texts"
        cls.texts.mkdir()
        for i, text in enumerate(("a dark night", "a quiet sea, and no wind", "thunder")):
            (cls.texts / f"{i}.txt").write_text(text)

    def example(self, program, *arguments, status=0, **options):
        """What a program prints; of one that fails with this status what it says."""
        result = subprocess.run([program, *arguments], capture_output=True, errors="replace",
                                env=self.environment, **options)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout if status == 0 else result.stderr

    # ---- the headers

    def test_headers_are_complete(self):
        installed = {p.name for p in self.headers.iterdir()}
        self.assertEqual(installed, {p.name for p in (ROOT / "include" / "longspan").iterdir()})
        guide = (ROOT / "docs/guide/library.md").read_text()
        self.assertEqual([h for h in installed if f"`{h}`" not in guide and h != "longspan.h"], [])
        # longspan.h has them all.
        whole = (self.headers / "longspan.h").read_text()
        self.assertEqual([h for h in installed if f'"longspan/{h}"' not in whole],
                         [h for h in installed if h in ("longspan.h", "c_api.h")])
        # Each stands alone, and needs nothing that is not installed.
        def probe(header):
            file = self.scratch / f"probe_{header}.cc"
            file.write_text(f'#include "longspan/{header}"\n')
            run(COMPILER, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                f"-I{self.prefix}/include", file)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(probe, sorted(installed)))

    def test_c_header_is_c(self):
        file = self.scratch / "probe.c"
        file.write_text('#include "longspan/c_api.h"\n')
        run(C_COMPILER, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
            f"-I{self.prefix}/include", file)

    def test_commands_need_the_headers_alone(self):
        # The program is a client like any other: none of its commands sees what is not installed.
        commands = sorted((ROOT / "cli").glob("**/cmd_*.cc"))
        commands = [c for c in commands if "lab" not in c.parts]
        self.assertGreater(len(commands), 20)
        # The installed headers are those that the build compiled the commands with, so that all
        # includes are found among them is enough: the preprocessor ends where one is not.
        for header in (ROOT / "include" / "longspan").iterdir():
            self.assertEqual((self.headers / header.name).read_bytes(), header.read_bytes(), header)
        def read(text):
            file = self.scratch / "commands.cc"
            file.write_text(text)
            words = run(COMPILER, "-std=c++20", "-M", '-DLONGSPAN_BUILD_TYPE="x"',
                        f"-I{self.prefix}/include", f"-I{ROOT}", file).split()
            return [word for word in words if word.startswith((f"{ROOT}/", f"{self.prefix}/"))]
        seen = read("".join(f'#include "{command}"\n' for command in commands))
        self.assertIn(str(self.headers / "model.h"), seen)
        allowed = (f"{ROOT}/cli/", f"{self.prefix}/include/longspan/")
        self.assertEqual([path for path in seen if not path.startswith(allowed)], [])
        with self.assertRaisesRegex(AssertionError, "io/json.h: No such file"):
            read('#include "io/json.h"\n')

    @unittest.skipUnless(shutil.which("doxygen"), "no doxygen")
    def test_every_public_name_has_a_comment(self):
        pages = self.scratch / "pages"
        pages.mkdir()
        run("doxygen", "docs/Doxyfile", cwd=ROOT, env={**os.environ, "LONGSPAN_DOCS": str(pages)})
        self.assertTrue((pages / "html" / "classlongspan_1_1Model.html").exists())
        # The same with a name that has none.
        tree = self.scratch / "tree"
        for name in ("docs/Doxyfile", "tools/doxygen_filter.py", "include/longspan/types.h"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        header = tree / "include/longspan/types.h"
        header.write_text(header.read_text().replace(
            "struct bfloat16 {", "struct bfloat16 {\n\n  int planted();\n"))
        bad = subprocess.run(["doxygen", "docs/Doxyfile"], cwd=tree, text=True, capture_output=True,
                             env={**os.environ, "LONGSPAN_DOCS": str(tree)})
        self.assertNotEqual(bad.returncode, 0)
        self.assertIn("planted", bad.stderr)

    # ---- the shared library

    def symbols(self, file, *options):
        return re.findall(r"^[0-9a-f]* +\w (.*)$", run("nm", "-C", *options, file), re.M)

    def test_symbols_are_those_of_the_headers(self):
        shown = self.symbols(self.shared, "-D", "--defined-only")
        text = "\n".join(h.read_text() for h in self.headers.iterdir())
        names = set(re.findall(r"\w+", re.sub(r"//.*", "", text)))
        functions = set(re.findall(r"\b(longspan_\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.S)))
        self.assertGreater(len(functions), 15)
        self.assertLessEqual(functions, set(shown))
        for symbol in shown:
            if symbol.startswith("longspan_"):
                self.assertIn(symbol, functions)
                continue
            # Each part of a name: longspan::text::Tokenizer::Encode.
            path = named(symbol).split("[")[0]
            self.assertTrue(path.startswith("longspan::"), symbol)
            for part in path.split("::"):
                known = part.startswith("operator") or part.removeprefix("~") in names
                self.assertTrue(known, f"{part} of {symbol}")

    @unittest.skipIf(SANITIZED, "sanitizers put symbols of their own everywhere")
    def test_the_commands_link_with_it(self):
        shown = set(self.symbols(self.shared, "-D", "--defined-only"))
        wanted = set()
        for archive in ("cli/liblongspan_commands.a", "cli/visual/liblongspan_visual.a"):
            here = set(self.symbols(Path(BUILD, archive), "--defined-only"))
            wanted |= {s for s in self.symbols(Path(BUILD, archive), "-u")
                       if "longspan::" in s and "longspan::cli::" not in s} - here
        wanted = {s for s in wanted if named(s).startswith("longspan::")}
        self.assertGreater(len(wanted), 100)
        self.assertEqual(wanted - shown, set())

    def test_soname(self):
        version = re.search(r'LONGSPAN_VERSION "(\d+)\.(\d+)\.(\d+)"',
                            (self.headers / "version.h").read_text())
        self.assertEqual(self.shared.resolve().name, f"liblongspan.so.{'.'.join(version.groups())}")
        self.assertTrue((self.shared.parent / f"liblongspan.so.{version[1]}.{version[2]}").exists())

    def test_no_trace_of_the_build(self):
        for file in self.prefix.rglob("*"):
            if file.suffix in (".cmake", ".pc", ".h"):
                text = file.read_text()
                self.assertNotIn(str(ROOT), text, file)
                self.assertNotIn(BUILD, text, file)

    # ---- the examples

    def built(self, target):
        """The folder of the examples, built through CMake with the shared or the static library."""
        build = self.scratch / f"build-{target}"
        if not build.exists():
            run(CMAKE, "-G", "Ninja", "-S", EXAMPLES, "-B", build,
                f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_COMPILER={COMPILER}",
                f"-DCMAKE_C_COMPILER={C_COMPILER}", f"-DCMAKE_CXX_FLAGS={FLAGS}",
                f"-DCMAKE_C_FLAGS={FLAGS}", "-DCMAKE_BUILD_TYPE=Release",
                f"-DLONGSPAN_TARGET=longspan::{target}")
            targets = [] if target == "shared" else ["--target", "embed_folder", "hello_attention"]
            run(CMAKE, "--build", build, *targets)
        return build

    def embed(self, program):
        output = self.scratch / "vectors.npy"
        names = self.example(program, self.words, self.texts, output).split()
        self.assertEqual([Path(n).name for n in names], ["0.txt", "1.txt", "2.txt"])
        return rows_of(output)

    def test_attention_on_own_tensors(self):
        self.assertIn("attention is right", self.example(self.built("shared") / "hello_attention"))

    def test_embed_a_folder(self):
        vectors = self.embed(self.built("shared") / "embed_folder")
        expected = self.scratch / "expected.npy"
        run(Path(BUILD, "longspan"), "embed", "-q", "-m", self.words, self.texts, "-o", expected)
        self.assertEqual(vectors, rows_of(expected))
        # A folder that is none is one line and the code of its kind.
        bad = self.example(self.built("shared") / "embed_folder", self.words, self.scratch / "no",
                           expected, status=4)
        self.assertRegex(bad, "^embed_folder: .*no: ")

    def test_nearest_rows(self):
        rows = self.scratch / "rows.jsonl"
        rows.write_text('{"id": 7, "text": "a dark night"}\n{"id": "b", "text": "thunder"}\n'
                        '{"id": 9}\n{"id": "c", "text": "a quiet sea"}\n')
        program = self.built("shared") / "nearest"
        found = self.example(program, self.words, rows, "thunder").splitlines()
        self.assertEqual(found[0], "1.0000  b  thunder")
        self.assertEqual(sorted(line.split()[1] for line in found), ["7", "b", "c"])
        self.example(program, self.words, self.scratch / "none.jsonl", "thunder", status=4)

    def test_stripped_static_program_that_embeds(self):
        program = self.scratch / "embedder"
        shutil.copy(self.built("longspan") / "embed_folder", program)
        run("strip", program)
        self.assertEqual(self.embed(program), self.embed(self.built("shared") / "embed_folder"))
        # It has what it uses: no command, no picture. The shared library has all of longspan.
        if not SANITIZED:
            self.assertLess(program.stat().st_size, self.shared.stat().st_size)
            self.assertNotIn("liblongspan", run("ldd", program))

    def test_serve_classes_from_eight_threads(self):
        texts = [f"the wind of day {i} " * (1 + i % 5) for i in range(40)]
        served = self.example(self.built("shared") / "serve_classifier", self.judge,
                              input="\n".join(texts)).splitlines()
        self.assertEqual(len(served), 40)
        lone = [self.example(self.built("shared") / "serve_classifier", self.judge,
                             input=text).strip() for text in texts[:3]]
        self.assertEqual(served[:3], lone)
        self.assertRegex(served[0], r"^(calm|storm)\t0\.\d{6}$")

    def test_stream_text(self):
        program = self.built("shared") / "stream_text"
        self.assertGreater(len(self.example(program, self.words, "It was", "12")), 2)
        self.assertIn("generate", self.example(program, self.judge, "It was", status=3))

    def test_train_a_classifier(self):
        rows = self.scratch / "rows.csv"
        lines = [f"the sea is {w} today {i},{l}" for i in range(20)
                 for w, l in (("still", "calm"), ("wild", "storm"))]
        rows.write_text("text,label\n" + "\n".join(lines) + "\n")
        told = self.example(self.built("shared") / "train_classifier", self.judge, rows,
                            self.scratch / "run", "the sea is wild today 7")
        self.assertRegex(told, r"update 1 of \d+: loss ")
        self.assertRegex(told, r"held-out texts: loss .*accuracy ")
        self.assertRegex(told, r'"the sea is wild today 7" is (calm|storm): ')

    def test_from_c(self):
        program = self.built("shared") / "use_from_c"
        expected = self.embed(self.built("shared") / "embed_folder")[2]
        got = self.example(program, "embed", self.words, "thunder").split()
        self.assertEqual([struct.unpack("f", struct.pack("f", float(x)))[0] for x in got],
                         list(expected))
        self.assertRegex(self.example(program, "classify", self.judge, "thunder"),
                         r"^calm 0\.\d+\nstorm 0\.\d+\n$")
        self.assertGreater(len(self.example(program, "generate", self.words, "It was")), 2)
        self.assertIn("none", self.example(program, "embed", self.scratch / "none", "x", status=4))

    def test_train_from_c(self):
        rows = self.scratch / "c-rows.csv"
        rows.write_text("text,label\n" + "".join(
            f"still {i},calm\nwild {i},storm\n" for i in range(10)))
        folder = self.scratch / "from-c"
        folder.mkdir()
        program = self.built("shared") / "train_from_c"
        told = self.example(program, rows, folder, "wild 3")
        self.assertRegex(told, r"update 1 of \d+: loss \d")
        self.assertRegex(told, r"accuracy [01]\.\d{3}\ncalm 0\.\d{6}\nstorm 0\.\d{6}\n$")
        # The program finds the same model there.
        scores = run(Path(BUILD, "longspan"), "classify", "-m", folder / "run", "--text", "wild 3",
                     "--json")
        self.assertIn("storm", scores)
        # A folder that has a model already is refused: one line, and the code of its kind.
        self.assertIn("not empty", self.example(program, rows, folder, "x", status=2))

    @unittest.skipIf(SANITIZED, "Python itself is not sanitized")
    def test_from_python(self):
        told = self.example(sys.executable, EXAMPLES / "use_from_python.py", self.words, "a sea",
                            "a sea")
        self.assertRegex(told, r"longspan \d+\.\d+\.\d+: the cosine of the two texts is 1\.000000")
        self.assertIn("none", self.example(sys.executable, EXAMPLES / "use_from_python.py", "none",
                                           "a", "b", status=1))

    # ---- other ways to find it

    @unittest.skipUnless(shutil.which("pkg-config"), "no pkg-config")
    def test_pkg_config(self):
        folder, = self.prefix.rglob("pkgconfig")
        environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
        flags = run("pkg-config", "--cflags", "--libs", "longspan", env=environment).split()
        program = self.scratch / "hello"
        run(COMPILER, *FLAGS.split(), EXAMPLES / "hello_attention.cc", "-o", program, *flags)
        self.assertIn("attention is right", self.example(program))
        version = run("pkg-config", "--modversion", "longspan", env=environment).strip()
        self.assertIn(f"longspan {version},", self.example(program))
        # The static archive, by its name.
        flags = run("pkg-config", "--static", "--cflags", "--libs", "longspan",
                    env=environment).replace("-llongspan", "-l:liblongspan.a").split()
        run(COMPILER, *FLAGS.split(), EXAMPLES / "hello_attention.cc", "-o", program, *flags)
        self.assertIn("attention is right", run(program))

    def test_plain_flags(self):
        program = self.scratch / "plain"
        run(COMPILER, *FLAGS.split(), "-std=c++20", f"-I{self.prefix}/include",
            EXAMPLES / "hello_attention.cc", f"-L{self.shared.parent}", "-llongspan",
            "-o", program)
        self.assertIn("attention is right", self.example(program))

    # ---- the program as a package

    @unittest.skipUnless(shutil.which("cpack") and shutil.which("dpkg-shlibdeps"), "no cpack or no dpkg-dev")
    @unittest.skipUnless(Path(BUILD, "longspan_mpi.so").exists(), "no MPI")
    @unittest.skipIf(SANITIZED, "nobody packs a sanitized program")
    def test_packages_have_the_mpi_module_and_need_no_mpi(self):
        folder = self.scratch / "packages"
        # The archive's own libraries need no second look; packing them takes long.
        run("cpack", "--config", Path(BUILD, "CPackConfig.cmake"), "-G", "DEB", "-B", folder,
            "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip", cwd=BUILD)
        package, = folder.glob("*.deb")
        def field(name):
            return run("dpkg-deb", "--field", package, name)
        self.assertIn("libc6", field("Depends"))
        self.assertNotIn("mpi", field("Depends"))
        self.assertIn("openmpi-bin", field("Recommends"))
        listed = run("dpkg-deb", "--contents", package)
        module, = [line.split()[-1] for line in listed.splitlines() if "longspan_mpi.so" in line]
        self.assertRegex(module, r"^\./usr/lib/(.*/)?longspan/longspan_mpi\.so$")
        # The program finds it where the package puts it.
        run("dpkg-deb", "--extract", package, folder / "root")
        told = run(folder / "root" / "usr" / "bin" / "longspan", "env")
        self.assertIn(str((folder / "root" / module).resolve()), told)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
