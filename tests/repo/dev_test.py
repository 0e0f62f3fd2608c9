"""./dev and what it does about missing packages, on a system made of stubs."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Stand-ins that write what they were asked into $LOG. dpkg-query knows the packages in $INSTALLED.
STUBS = {
    "dpkg-query": 'eval "name=\\${$#}"\n'
                  'case " $INSTALLED " in *" $name "*) echo installed ;; *) exit 1 ;; esac\n',
    "apt-get": 'echo "apt-get $*" >>"$LOG"\n',
    "sudo": 'echo "sudo $*" >>"$LOG"\nexec "$@"\n',
    "id": "echo ${USER_ID:-0}\n",
    "cmake": 'echo "cmake $*" >>"$LOG"\n',
    "ninja": "",
    "ctest": 'echo "ctest $*" >>"$LOG"\necho "100% tests passed"\n',
    "getconf": "echo 2\n",
    "git": "", "ccache": "",
    # An environment whose python writes down what it is asked; pip wheel leaves a wheel.
    "python3": 'if [ "$1 $2" = "-m venv" ]; then\n'
               '  mkdir -p "$3/bin"\n'
               "  cat >\"$3/bin/python\" <<'END'\n"
               '#!/bin/sh\n'
               'echo "${0##*build/} $*" >>"$LOG"\n'
               'case "$*" in *"pip wheel"*) mkdir -p build/python/attention-wheel\n'
               '  : >build/python/attention-wheel/longspan.whl ;; esac\n'
               'exit ${PIP_FAILS:-0}\n'
               'END\n'
               '  chmod +x "$3/bin/python"\n'
               'fi\n',
}
TOOLS = ("sh", "env", "dirname", "mkdir", "cat", "rm", "grep", "date", "wc", "seq", "chmod", "ls")
BUILD = "g++ cmake ninja-build pkg-config"


class Dev(unittest.TestCase):
    def run_dev(self, *arguments, without=(), answer=None, stubs=None, **environment):
        """(status, stdout, stderr, log) of a copy of ./dev in a folder of its own."""
        with tempfile.TemporaryDirectory() as folder:
            bin_ = Path(folder, "bin")
            bin_.mkdir()
            for name in TOOLS:
                real = next(Path(p, name) for p in ("/usr/bin", "/bin") if Path(p, name).exists())
                (bin_ / name).symlink_to(real)
            for name, text in (STUBS | (stubs or {})).items():
                if name not in without:
                    (bin_ / name).write_text("#!/bin/sh\n" + text)
                    (bin_ / name).chmod(0o755)
            Path(folder, "dev").write_text((ROOT / "dev").read_text())
            Path(folder, "python", "tests").mkdir(parents=True)
            log = Path(folder, "log")
            log.touch()
            run = subprocess.run(
                ["/bin/sh", Path(folder, "dev"), *arguments], text=True, capture_output=True,
                input=answer or "", cwd="/", timeout=60,
                env={"PATH": str(bin_), "LOG": str(log), "INSTALLED": "", **environment})
            return run.returncode, run.stdout, run.stderr, log.read_text()

    def packages(self):
        """Everything that ./dev could ask for."""
        return " ".join(self.run_dev("-y", "install-deps")[3].split())

    def test_is_posix_and_executable(self):
        self.assertTrue(os.access(ROOT / "dev", os.X_OK))
        self.assertTrue(os.access(ROOT / ".ci" / "run", os.X_OK))
        self.assertEqual(subprocess.run(["sh", "-n", ROOT / "dev"]).returncode, 0)

    def test_help(self):
        for arguments in ((), ("help",), ("--help",)):
            status, output, _, log = self.run_dev(*arguments)
            self.assertEqual((status, log), (0, ""))
            self.assertLess(output.count("\n"), 32)
            for task in ("build", "test", "demo", "bench", "format", "lint", "fuzz", "faults", "perf",
                         "neighbours", "package", "check", "hooks", "python"):
                self.assertIn(f"\n  {task}", output)

    def test_unknown_task(self):
        status, output, errors, _ = self.run_dev("tset")
        self.assertEqual((status, output), (2, ""))
        self.assertIn("'tset'", errors)

    def test_nobody_there_to_ask(self):
        status, _, errors, log = self.run_dev("test")
        self.assertEqual((status, log), (2, ""))
        self.assertIn("apt-get install g++ cmake", errors)
        self.assertIn("./dev -y test", errors)

    def test_root_installs_with_yes_or_in_ci(self):
        for arguments, environment in ((("-y", "test"), {}), (("test",), {"CI": "true"})):
            status, output, errors, log = self.run_dev(*arguments, **environment)
            self.assertEqual(status, 0, errors)
            self.assertIn("apt-get install -y -qq --no-install-recommends g++ cmake", log)
            self.assertIn("libgtest-dev", log)
            self.assertNotIn("sudo", log)
            self.assertNotIn("clang", log)
            self.assertEqual(output, "100% tests passed\n")

    def test_python_builds_what_numpy_alone_needs(self):
        status, _, errors, log = self.run_dev("-y", "python", "-k", "window")
        self.assertEqual(status, 0, errors)
        self.assertIn("python3-venv", log)
        self.assertNotIn("libdnnl-dev", log)
        self.assertIn("cmake.define.LONGSPAN_PYTHON=attention", log)
        self.assertNotIn("torch", log)
        self.assertRegex(log, r"python/attention/bin/python -m pytest -q -m not full -k window\n$")
        self.assertRegex(errors, "from nothing this takes about 2 minutes")

    def test_python_packages_that_cannot_be_had(self):
        for task in ("test", "python"):
            status, _, errors, _ = self.run_dev("-y", task, PIP_FAILS="1")
            self.assertEqual(status, 2)
            self.assertIn("dev: pip could not install: ", errors)

    def test_user_goes_through_sudo(self):
        status, _, errors, log = self.run_dev("-y", "build", USER_ID="1000")
        self.assertEqual(status, 0, errors)
        self.assertIn("sudo apt-get update", log)
        self.assertIn("sudo env DEBIAN_FRONTEND=noninteractive apt-get install", log)
        self.assertNotIn("libgtest-dev", log)
        status, _, errors, log = self.run_dev("-y", "build", without=("sudo",), USER_ID="1000")
        self.assertEqual((status, log), (2, ""))
        self.assertIn("neither root nor sudo", errors)

    def test_asks_only_for_what_is_missing(self):
        everything = self.packages()
        status, _, errors, log = self.run_dev("test", INSTALLED=everything)
        self.assertEqual(status, 0, errors)
        self.assertNotIn("apt-get", log)
        without_one = " ".join(p for p in everything.split() if p != "libhwy-dev")
        _, _, _, log = self.run_dev("-y", "test", INSTALLED=without_one)
        self.assertIn("--no-install-recommends libhwy-dev\n", log)

    def test_other_systems_carry_on(self):
        status, output, errors, _ = self.run_dev("test", without=("dpkg-query",))
        self.assertEqual((status, output), (0, "100% tests passed\n"))
        self.assertIn("not a Debian-like system", errors)
        status, _, errors, _ = self.run_dev("test", without=("dpkg-query", "ninja"))
        self.assertEqual(status, 2)
        self.assertIn("ninja is not installed", errors)

    def test_says_how_long_compiling_takes(self):
        many = "case \"$*\" in *commands*) seq 300 ;; *) seq -f '[%g/300]' 300 ;; esac\n"
        for jobs, minutes in (("2", 6), ("5", 3)):
            _, _, errors, _ = self.run_dev("-y", "build", LONGSPAN_JOBS=jobs, stubs={"ninja": many})
            self.assertRegex(errors, rf"compiling with {jobs} jobs; .* about {minutes} minutes\n")
            self.assertRegex(errors, r"dev: compiled in \d+:\d\d\n")
        _, _, errors, _ = self.run_dev("-y", "build")  # nothing to do
        self.assertNotIn("compil", errors)

    def test_options_are_passed_on(self):
        _, _, _, log = self.run_dev("-y", "test", "-R", "chunked")
        self.assertRegex(log.strip(), r"ctest --test-dir build/dev --parallel 4 .*-R chunked$")
        _, _, _, log = self.run_dev("-y", "build", LONGSPAN_JOBS="7")
        self.assertIn("cmake --build build/release --parallel 7", log)

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK), "no folder in memory")
    def test_scratch_folders_lie_in_memory_where_there_is_room(self):
        def scratch(kilobytes, **environment):
            """TMPDIR as the tests see it, and whether it is there afterwards."""
            stubs = {"df": f"echo head; echo tmpfs 9 9 {kilobytes} 9% /dev/shm\n",
                     "ctest": 'echo "tests in ${TMPDIR:-}" >>"$LOG"\n[ -d "${TMPDIR:-/}" ] || exit 1\n'
                              'exit ${FAILS:-0}\n'}
            status, _, errors, log = self.run_dev("-y", "test", stubs=stubs, **environment)
            self.assertEqual(status, int(environment.get("FAILS", 0)), errors)
            folder = log.splitlines()[-1].removeprefix("tests in ").strip()
            return folder, bool(folder) and Path(folder).exists()
        for environment in ({}, {"FAILS": "8"}):
            folder, there = scratch(5_000_000, **environment)
            self.assertRegex(folder, r"^/dev/shm/longspan-test-\d+$")
            self.assertFalse(there)
        self.assertEqual(scratch(65536), ("", False))
        self.assertEqual(scratch(5_000_000, TMPDIR="/tmp"), ("/tmp", True))


if __name__ == "__main__":
    unittest.main()
