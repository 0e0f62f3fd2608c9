"""Models under threads, signals and forks, and what a build has."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan.models import Model  # noqa: E402

LONG = "She walked to the sea, and the sea was grey. " * 150  # some 1,600 tokens


def test_threads_have_the_same_bits(models: dict[str, Model]) -> None:
    texts = [f"text {i} of the sea" for i in range(16)] + [LONG]
    alone = models["mlm"].encode(texts)
    results: list[Any] = [None] * 8

    def work(number: int) -> None:
        results[number] = models["mlm"].encode(texts)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, alone) for result in results)
    one = longspan.load(models["mlm"].path, threads=1)
    assert np.array_equal(one.encode(texts), alone)


def test_signals_while_it_computes(models: dict[str, Model]) -> None:
    texts = [LONG] * 4
    quiet = models["mlm"].encode(texts)
    count = 0

    def tick(number: int, frame: Any) -> None:
        nonlocal count
        count += 1

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(3):
            assert np.array_equal(models["mlm"].encode(texts), quiet)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert count > 0


def test_a_handler_of_python_may_end_a_call(models: dict[str, Model]) -> None:
    class Enough(Exception):
        pass

    def stop(number: int, frame: Any) -> None:
        raise Enough

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    begin = time.monotonic()
    try:
        with pytest.raises(Enough):
            while time.monotonic() < begin + 10:
                models["lm"].generate(["She had"] * 8, tokens=100_000, context=64)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begin < 2
    assert models["lm"].generate("She had", tokens=2).ending == "length"


def computed(pid: int) -> float:
    """Seconds that the process has computed so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_python(code: str, *args: object, interrupt_after: str = "") -> tuple[int, str, float]:
    """Runs code; sends it Ctrl-C when it has printed `interrupt_after`. (status, output, seconds of
    computing from there to the next line: what else the machine does takes none of them)."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines, begin, seconds = [], 0.0, 0.0
    for line in process.stdout:
        lines.append(line)
        if begin > 0.0 and seconds == 0.0:
            seconds = computed(process.pid) - begin
        if interrupt_after and line.strip() == interrupt_after:
            time.sleep(0.5)
            begin = computed(process.pid)
            process.send_signal(signal.SIGINT)
            interrupt_after = ""
    return process.wait(30), "".join(lines), seconds


@pytest.mark.parametrize("call", ["encode", "generate", "stream", "init"])
def test_ctrl_c(folders: dict[str, Path], tmp_path: Path, call: str) -> None:
    code = """
        import sys, time, longspan
        encoder, writer = longspan.load(sys.argv[1]), longspan.load(sys.argv[2])
        print("go")
        try:
            if sys.argv[3] == "encode":
                encoder.encode(["the sea was grey " * 2000] * 4000)
            while sys.argv[3] == "init":  # several seconds for one
                longspan.init_model(sys.argv[4], layers=12, width=1024, overwrite=True)
            while sys.argv[3] == "generate":
                writer.generate("She had", tokens=1000000, context=64)
            while True:
                for piece in writer.generate("She had", tokens=1000000, context=64, stream=True):
                    pass
        except KeyboardInterrupt:
            print("interrupted")
            print(encoder.encode("a").shape)
    """
    status, output, seconds = run_python(
        code, folders["mlm"], folders["lm"], call, tmp_path / "new", interrupt_after="go"
    )
    assert not list(tmp_path.iterdir())
    assert status == 0 and output.split()[-2:] == ["interrupted", "(128,)"], output
    assert seconds < 3  # one, of all threads, and what slower machines add


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork(folders: dict[str, Path]) -> None:
    code = """
        import os, sys, warnings, numpy, longspan
        warnings.simplefilter("ignore")
        model = longspan.load(sys.argv[1])
        before = model.encode("the sea")
        child = os.fork()
        same = numpy.array_equal(model.encode("the sea"), before)
        if child == 0:
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        print(same, status)
    """
    status, output, _ = run_python(code, folders["mlm"])
    assert status == 0 and output.split() == ["True", "0"], output


def test_exit_with_an_open_stream(folders: dict[str, Path]) -> None:
    code = """
        import sys, longspan
        stream = longspan.load(sys.argv[1]).generate("She", tokens=1000000, context=64, stream=True)
        next(stream)
        print("end")
    """
    status, output, _ = run_python(code, folders["lm"])
    assert status == 0 and output == "end\n", output


def test_the_stub_names_what_there_is() -> None:
    from longspan import _models

    stub = ast.parse((Path(_models.__file__).parent / "_models.pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            assert hasattr(_models, node.name), node.name
        if isinstance(node, ast.ClassDef):
            kind = getattr(_models, node.name)
            names = {n.name for n in node.body if isinstance(n, ast.FunctionDef)} - {"__init__"}
            assert {n for n in vars(kind) if not n.startswith("__")} == names, node.name


def test_without_the_models() -> None:
    code = """
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "longspan._models" else find(name)
        import longspan
        try:
            longspan.load("model")
        except ImportError as error:
            print(error)
    """
    status, output, _ = run_python(code)
    assert status == 0 and output.startswith("this build of longspan has the attention functions")
    assert output.count("\n") == 1


def test_the_program_is_run_or_named(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "longspan", "--version"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    if run.returncode == 2:
        assert run.stderr.startswith("longspan: this build of the package has no program")
        assert run.stderr.count("\n") == 1
    else:
        assert run.returncode == 0 and longspan.__version__ in run.stdout
