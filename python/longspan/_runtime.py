"""Threads, forks, and what this build and this process have."""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from longspan import _arguments, _core

_set: bool = False  # whether set_threads named a number
_named = "LONGSPAN_THREADS" in os.environ  # looked up once: it costs a microsecond


def set_threads(threads: int | None) -> None:
    """Sets how many threads calls use at most, in all threads of Python.

    None: the default again, which is torch's number (``torch.get_num_threads()``) where torch is
    imported, else LONGSPAN_THREADS in the environment, else the CPUs that this process may use.
    Results have the same bits for any number. Several threads of Python that call longspan at once
    have that many threads each: a server that answers in parallel uses 1.

    Raises UsageError for a number that cannot be, and for more than 1 in a forked process.
    """
    global _set
    number = 0 if threads is None else _arguments.integer("set_threads", "threads", threads, 1)
    _core.set_threads(min(number, 2**31 - 1))
    _set = number != 0


def get_threads() -> int:
    """The threads that a call of this thread of Python uses at most."""
    return _core.used_threads(wanted_threads())


def names_threads() -> bool:
    """Whether set_threads or LONGSPAN_THREADS says how many threads there are."""
    return _set or _named


def wanted_threads() -> int:
    """What calls hand to _core: 0 where it decides itself."""
    if _set or _named:
        return 0
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    count = getattr(torch, "get_num_threads", None)
    return 0 if count is None else int(count())


def _after_fork() -> None:
    global _set
    _set = False
    _core.after_fork()
    models = sys.modules.get("longspan._models")
    if models is not None:
        models.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def openmp_runtimes() -> list[str]:
    """The files of the OpenMP runtimes that are loaded into this process."""
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return []
    found = re.findall(r"(/\S*/lib(?:gomp|omp|iomp5)\b\S*\.so\S*)", maps)
    return sorted(set(found))


def warn_of_two_runtimes() -> None:
    """Warns, once, where longspan and torch have an OpenMP runtime each."""
    runtimes = openmp_runtimes()
    if len(runtimes) > 1 and "torch" in sys.modules:
        warnings.warn(
            f"two OpenMP runtimes are loaded ({', '.join(runtimes)}): their threads wait for each "
            "other's cores, and both get slower; OMP_WAIT_POLICY=passive helps, the same libgomp "
            "for all packages ends it", RuntimeWarning, stacklevel=3)


def config() -> dict[str, Any]:
    """What show_config prints, as a dictionary."""
    def version(name: str) -> str | None:
        module = sys.modules.get(name)
        return None if module is None else str(getattr(module, "__version__", "unknown"))

    try:
        from longspan import _models
        models: str = f"yes, oneDNN {_models.onednn_version()}"
    except ImportError:
        models = "no: this build has the attention functions alone"
    return {
        "longspan": _core.VERSION,
        "package": str(Path(__file__).parent),
        "models": models,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "cpu": _cpu(),
        "instruction set": _core.kernel_isa(),
        "instruction sets here": ", ".join(_core.runnable_isas()),
        "bf16 in attention": _core.kernel_bf16(),
        "threads": get_threads(),
        "openmp": ", ".join(openmp_runtimes()) or "unknown",
    }


def show_config() -> None:
    """Prints versions, kernels, threads and OpenMP runtimes, for a report of a fault."""
    for name, value in config().items():
        print(f"{name:22} {'not imported' if value is None else value}")
    warn_of_two_runtimes()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
