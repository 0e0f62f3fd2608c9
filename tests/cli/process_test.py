#!/usr/bin/env python3
"""What the system refuses the process: threads, addresses, stacks, descriptors; and how its threads
wait for each other.

usage: process_test.py PROGRAM [unittest options]
"""

import os
import pwd
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

import support
from support import Case, main, unless_other_openmp, unless_sanitized

MEBI = 1 << 20
NOTES = ("warning: ", "step ", "saved ")  # of runs, not of their end


class LimitCase(Case):
    """The commands that are tried under limits, and what they may end with."""

    def setUp(self):
        super().setUp()
        self.wanted = self.ok(*self.generate())

    def generate(self):
        return ["generate", "-m", self.start, "-p", "It was", "--tokens", "5", "--temperature", "0"]

    def training(self):
        return ["train", "lm", "-m", self.start, "--train", self.text, "-o", self.dir / "run",
                "--overwrite", "--steps", "2", "--batch", "2", "--tokens", "64", "--progress",
                "none", "-t", "4"]

    def limited(self, arguments, limits=(), environment=(), program=None, **options):
        def apply():
            for kind, value in limits:
                resource.setrlimit(kind, (value, value))
        return subprocess.run([program or support.PROGRAM, *map(str, arguments)], timeout=120,
                              capture_output=True, text=True, errors="replace",
                              preexec_fn=apply,
                              env={**os.environ, **dict(environment)}, **options)

    def ends_well(self, result, codes=(0, 5)):
        """Right, perhaps with a warning, or one line and the code."""
        self.assertIn(result.returncode, codes, result.stderr)
        lines = [line for line in result.stderr.splitlines() if not line.startswith(NOTES)]
        if result.returncode == 0:
            self.assertEqual(lines, [])
        else:
            self.assertEqual(len(lines), 1, result.stderr)
            self.assertTrue(lines[0].startswith("longspan: "), result.stderr)


@unless_sanitized
class Threads(LimitCase):
    def ordinary_user(self):
        """Options that make the child a user whom limits of processes bind, and a program for it."""
        if os.getuid() != 0:
            return {}, None
        nobody = pwd.getpwnam("nobody")
        program = self.dir / "program"
        shutil.copy(support.PROGRAM, program)
        for path in [self.dir, self.start, *self.start.iterdir(), program]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        for path in Path("/proc").glob("[0-9]*"):
            if path.exists() and path.stat().st_uid == nobody.pw_uid:
                self.skipTest("'nobody' runs something already")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}, program

    @staticmethod
    def loaded(result):
        """The system's loader could bring the program into memory."""
        return result.returncode != 127 or "error while loading" not in result.stderr

    def test_none_to_be_had(self):
        user, program = self.ordinary_user()
        threads = [(resource.RLIMIT_NPROC, 0)]
        for arguments in [["--version"], ["info", self.start], [*self.generate(), "-t", "4"]]:
            result = self.limited(arguments, threads, program=program, **user)
            self.ends_well(result, (0,))
        self.assertEqual(result.stdout, self.wanted)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertIn("threads: 1 instead of 4: the system gives no more", result.stderr)
        self.ends_well(self.limited(self.training(), threads, program=program, **user), (0,))

    def test_few_to_be_had(self):
        user, program = self.ordinary_user()
        if not user:
            self.skipTest("how many threads this user has is not known")
        found = set()
        for limit in range(1, 8):
            result = self.limited([*self.generate(), "-t", "4"], [(resource.RLIMIT_NPROC, limit)],
                                  program=program, **user)
            self.ends_well(result, (0,))
            self.assertEqual(result.stdout, self.wanted)
            found.update(re.findall(r"threads: (\d) instead of 4", result.stderr) or ["4"])
        self.assertEqual(found, {"1", "2", "3", "4"})

    def test_addresses(self):
        for limit in range(70, 500, 10):
            for arguments in [["--version"], self.generate(), self.training()]:
                with self.subTest(limit=limit, command=arguments[0]):
                    result = self.limited(arguments, [(resource.RLIMIT_AS, limit * MEBI)])
                    if not self.loaded(result):
                        continue
                    self.ends_well(result)
        self.ends_well(self.limited(self.training(), [(resource.RLIMIT_AS, 4096 * MEBI)]), (0,))

    def test_stacks(self):
        for size in [48, 64, 128, 256, 1000, 2000]:
            stack = [(resource.RLIMIT_STACK, size << 10)]
            result = self.limited(self.generate(), stack)
            self.ends_well(result, (0,))
            self.assertEqual((result.stdout, result.stderr), (self.wanted, ""), size)
            self.ends_well(self.limited(self.training(), stack), (0,))

    @unless_other_openmp
    def test_stacks_of_threads(self):
        for name in ["OMP_STACKSIZE", "GOMP_STACKSIZE"]:
            for size in ["16k", " 20 ", "0", "100B", "0M", "1G", "700K"]:
                result = self.limited(self.training(), environment={name: size}.items())
                self.ends_well(result, (0,))
        both = self.limited(self.training(), [(resource.RLIMIT_STACK, 64 << 10)],
                            {"OMP_STACKSIZE": "16k"}.items())
        self.ends_well(both, (0,))
        self.assertNotIn("warning", both.stderr)

    def test_descriptors(self):
        for count in range(3, 12):
            for arguments in [["--version"], self.generate(), self.training()]:
                result = self.limited(arguments, [(resource.RLIMIT_NOFILE, count)])
                if not self.loaded(result):
                    continue
                self.ends_well(result, (0, 4, 5))
            if count >= 8:
                self.assertEqual(result.returncode, 0, result.stderr)


@unless_sanitized
class Waiting(LimitCase):
    """Threads that wait sleep soon; nothing of that is to be seen in the process."""

    def spins(self, **environment):
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
        result = subprocess.run([support.PROGRAM, "--version"], capture_output=True, text=True,
                                env={**variables, "OMP_DISPLAY_ENV": "verbose", **environment})
        self.assertEqual(result.returncode, 0, result.stderr)
        return int(re.search(r"GOMP_SPINCOUNT = '(\d+)'", result.stderr).group(1))

    def test_turns(self):
        short = self.spins()
        self.assertGreater(short, 0)
        self.assertLessEqual(short, 10000)
        self.assertEqual(self.spins(GOMP_SPINCOUNT="77"), 77)
        self.assertEqual(self.spins(OMP_WAIT_POLICY="passive"), 0)
        self.assertGreater(self.spins(OMP_WAIT_POLICY="active"), 1000000)

    def test_without_an_environment(self):
        result = subprocess.run([support.PROGRAM, *map(str, self.generate())], env={},
                                capture_output=True, text=True, errors="replace")
        self.assertEqual((result.returncode, result.stdout), (0, self.wanted), result.stderr)

    def test_the_process_is_the_one_that_was_started(self):
        read, write = os.pipe()
        environment = {**os.environ, "PWD": "/somewhere"}
        process = subprocess.Popen(["a name", "tokenize", "-m", "bytes", "-f", "-"], stdin=read,
                                   executable=support.PROGRAM, stdout=subprocess.PIPE,
                                   env=environment)
        os.close(read)
        proc = Path(f"/proc/{process.pid}")
        for _ in range(500):
            if proc.joinpath("cmdline").read_bytes().startswith(b"a name"):
                break
            time.sleep(0.01)
        self.assertEqual(proc.joinpath("comm").read_text().strip(),
                         Path(support.PROGRAM).name[:15])
        told = proc.joinpath("environ").read_bytes().split(b"\0")
        self.assertIn(b"PWD=/somewhere", told)
        self.assertFalse([entry for entry in told if b"SPINCOUNT" in entry])
        os.write(write, b"a")
        os.close(write)
        self.assertIn(b"99", process.communicate()[0])
        self.assertEqual(process.returncode, 0)



class Libraries(Case):
    def test_drawing_libraries_are_loaded_on_demand(self):
        if shutil.which("ldd") is None:
            self.skipTest("no ldd")
        libraries = subprocess.run(["ldd", support.PROGRAM], text=True, capture_output=True).stdout
        self.assertIn("libc.so", libraries)
        for name in ("libX11", "libcairo", "libfontconfig", "libpng"):
            self.assertNotIn(name, libraries)
        picture = self.dir / "pattern.svg"
        self.ok("pattern", "--kind", "overview", "-o", picture)
        self.assertIn("<svg", picture.read_text())


if __name__ == "__main__":
    main()
