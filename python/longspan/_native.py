"""The compiled part for models, what every call of it is told, and the process's ends."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Union

from ._errors import Error
from ._runtime import get_threads, names_threads

if importlib.util.find_spec(f"{__package__}._models") is None:
    raise ImportError(
        "this build of longspan has the attention functions alone; build it without "
        "cmake.define.LONGSPAN_PYTHON=attention for models, training and pipelines"
    )

from . import _models  # noqa: E402  (after the message about a build without it)

__all__ = [
    "_models",
    "call_options",
    "fspath",
    "in_python",
    "named",
    "python_names",
    "rank_and_threads",
]

if TYPE_CHECKING:
    PathLike = Union[str, "os.PathLike[str]"]


def _leave_ranks() -> None:
    # The interpreter has printed the exception that ends the program, and kept it there.
    _models.leave_ranks(hasattr(sys, "last_type"))


# Ranks of mpirun wait for each other, after the threads below have ended.
atexit.register(_leave_ranks)
# A thread that still computes when the interpreter ends would meet a library that is half gone.
atexit.register(_models.wait_for_workers, 1.0)

# Seconds after which a process that waits for the others says so.
_LATE_S = 20.0
_LATE = (
    "longspan.train waits until all processes that mpirun has started have called it; if one of "
    "them never does, call it in all, or set LONGSPAN_MPI=0 so that each trains by itself"
)

def rank_and_threads(threads: int | None) -> tuple[int, int | None]:
    """The number of this process among those that mpirun started, and the threads of a call that
    they make together: its share of the machine, where nobody named a number. Waits for all of them
    when it is called first, and warns where that takes long: a process that has ended before never
    comes, and MPI does not say so."""
    late = threading.Timer(_LATE_S, warnings.warn, (_LATE, RuntimeWarning))
    late.daemon = True
    late.start()
    try:
        rank, _, share = _models.join_ranks()
    finally:
        late.cancel()
    return rank, share if share > 0 and threads is None and not names_threads() else threads


def call_options(
    threads: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
    cancel: _models.CancelFlag | None = None,
) -> dict[str, Any]:
    """How one call runs, as `_models` reads it."""
    return {
        "threads": get_threads() if threads is None else threads,
        "memory_limit": memory_limit,
        "progress": progress,
        "cancel": cancel,
    }


def in_python(line: str) -> str:
    """A message with the names that options have here: held_out for --held-out. Commands of the
    program, between backticks, stay as they are."""
    option = r"`longspan [^`]*`|(?<![\w-])--([a-z][a-z-]*[a-z])"
    return re.sub(option, lambda m: m[1].replace("-", "_") if m[1] else m[0], line)


@contextlib.contextmanager
def python_names(also: Callable[[str], str] = str) -> Iterator[None]:
    """Options in the messages of errors by their names here, as in_python has them. also: what
    else is done with a message."""
    try:
        yield
    except Error as error:
        line = str(error)
        ours = also(in_python(line))
        if ours == line:
            raise
        raise type(error)(ours) from None


def named(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given: those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def fspath(name: str, path: PathLike) -> str:
    """A path as a str; TypeError "<name> is ..." for what is none."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(
            f"{name} is {type(path).__name__}, need a path: str or os.PathLike"
        ) from None
