"""Threads, forks, signals and the end of the interpreter."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import longspan
from conftest import Run

ARRAYS = """
import numpy as np, longspan
random = np.random.default_rng(1)
q, k, v = (random.standard_normal((1, 4, TOKENS, 64), dtype=np.float32) for _ in range(3))
def bits():
    out, pull = longspan.window_attention_vjp(*(x[:, :, :700] for x in (q, k, v)), left=100, right=100)
    return b"".join(x.tobytes() for x in (out, *pull(out)))
"""


def test_threads_get_the_bits_of_one() -> None:
    random = np.random.default_rng(3)
    arrays = [random.standard_normal((1, 2, 600, 32), dtype=np.float32) for _ in range(3)]

    def work(_: int) -> bytes:
        parts = []
        for function, options in ((longspan.window_attention_vjp, {"left": 50, "right": 50}),
                                  (longspan.full_attention_vjp, {})):
            out, pull = function(*arrays, **options)
            parts += [out, *pull(out)]
        lsh, pull = longspan.lsh_attention_vjp(arrays[0], arrays[1], rounds=2)
        return b"".join(x.tobytes() for x in [*parts, lsh, *pull(lsh)])

    longspan.set_threads(1)
    try:
        alone = work(0)
        longspan.set_threads(2)
        assert work(0) == alone
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(work, range(24))) == {alone}
    finally:
        longspan.set_threads(None)


def test_other_threads_go_on() -> None:
    random = np.random.default_rng(3)
    q = random.standard_normal((1, 4, 4096, 64), dtype=np.float32)
    turns, ended = 0, threading.Event()

    def work() -> None:
        longspan.full_attention(q, q, q)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not ended.is_set():
        turns += 1
        ended.wait(0.001)
    thread.join()
    assert turns > 3


def test_numbers_of_threads() -> None:
    try:
        longspan.set_threads(3)
        assert longspan.get_threads() == 3
        for wrong in (0, -1, 10**6, 1.5, "2"):
            with pytest.raises((ValueError, TypeError)) as caught:
                longspan.set_threads(wrong)  # type: ignore[arg-type]
            assert isinstance(caught.value, longspan.Error)
        assert longspan.get_threads() == 3
    finally:
        longspan.set_threads(None)


def test_environment_names_the_threads(run: Run) -> None:
    text = "import longspan; print(longspan.get_threads())"
    assert run(text, LONGSPAN_THREADS="5").stdout.strip() == "5"
    wrong = run("import numpy as np, longspan\n"
                "x = np.zeros((1, 1, 900, 64), np.float32); longspan.full_attention(x, x, x)",
                LONGSPAN_THREADS="many")
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1] == ("longspan._errors.UsageError: LONGSPAN_THREADS: 'many' "
                                             "is not a number from 1 to 1024"), wrong.stderr


@pytest.mark.parametrize("before", ["", "bits()", "longspan.set_threads(2); bits()"])
def test_forked_children_have_the_bits(run: Run, before: str) -> None:
    text = ARRAYS.replace("TOKENS", "700") + f"""
import multiprocessing, warnings
{before}
def child(_):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = bits(), longspan.get_threads()
        bits()
    return *result, [str(w.message) for w in caught]
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map(child, range(4), chunksize=1)
own = bits()
assert all(bytes_ == own and threads == 1 for bytes_, threads, _ in results)
texts = [text for *_, words in results for text in words]
assert 1 <= len(texts) <= 2 and all("LONGSPAN_THREADS=1" in text for text in texts), texts
print("done")
"""
    result = run(text, LONGSPAN_THREADS="2", seconds=60)
    assert result.stdout == "done\n", result.stderr


def test_child_that_asks_for_threads_is_refused(run: Run) -> None:
    text = ARRAYS.replace("TOKENS", "700") + """
import os
bits()
child = os.fork()
if child == 0:
    try:
        longspan.set_threads(2)
    except ValueError as error:
        os._exit(0 if "spawn" in str(error) and len(str(error).splitlines()) == 1 else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    assert run(text).returncode == 0


INTERRUPTED = ARRAYS + """
import signal, threading, time, os
bits()
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
begin = time.perf_counter()
try:
    CALL
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - begin)
first = bits()
assert first == bits()  # nothing is broken
"""


@pytest.mark.parametrize("call", [
    "longspan.full_attention(q, k, v)",
    "for _ in range(10**6): longspan.window_attention(q, k, v, left=4000, right=4000)",
    "longspan.full_attention_vjp(q[:, :, :4096], k[:, :, :4096], v[:, :, :4096])[1](v[:, :, :4096])\n"
    "    longspan.full_attention(q, k, v)",
])
def test_ctrl_c_ends_a_call(run: Run, call: str) -> None:
    result = run(INTERRUPTED.replace("TOKENS", "40000").replace("CALL", call), seconds=120)
    assert result.returncode == 0, result.stderr
    word, seconds = result.stdout.split()
    # Half a second until the signal, one until the call has ended, and what a busy machine adds.
    assert word == "interrupted" and float(seconds) < 3


def test_a_handler_of_ones_own_lets_the_call_end(run: Run) -> None:
    text = ARRAYS.replace("TOKENS", "6000") + """
import os, signal, threading
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
expected = longspan.full_attention(q, k, v)
threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
for _ in range(5):
    assert np.array_equal(longspan.full_attention(q, k, v), expected)
assert seen
print("done")
"""
    result = run(text)
    assert result.stdout == "done\n", result.stderr


def test_interpreters_start_and_end(run: Run) -> None:
    text = """
import os, subprocess, sys
call = ("import numpy as np, longspan, threading; x = np.ones((1, 2, 400, 32), np.float32);"
        "threading.Thread(target=lambda: longspan.full_attention(x, x, x)).start();"
        "longspan.full_attention(x, x, x)")
for i in range(40):
    assert subprocess.run([sys.executable, "-c", call]).returncode == 0, i
"""
    result = run(text, seconds=240)
    assert result.returncode == 0, result.stderr


def test_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    longspan.show_config()
    text = capsys.readouterr().out
    assert f"longspan               {longspan.__version__}" in text
    assert "instruction set" in text and "libgomp" in text
