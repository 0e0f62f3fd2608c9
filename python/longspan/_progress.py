"""Progress of long calls: tqdm where it is installed, else plain text on stderr."""

from __future__ import annotations

import importlib
import sys
import time
from types import TracebackType
from typing import Any, Union

from ._errors import UsageError

# None: if stderr is a terminal, and in a notebook. The program's names mean the same.
Show = Union[bool, str, None]
_NAMES: dict[str, bool | None] = {"auto": None, "bar": True, "plain": True, "none": False}


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def _watched() -> bool:
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _listed() -> str:
    return " or ".join(map(repr, _NAMES))


# Between two lines of plain progress, but for the last one.
_SECONDS_BETWEEN = 0.1


class Bar:
    """Shows how much of `total` is done. `show` None: if stderr is a terminal, and in a notebook;
    "plain": text, even where tqdm is installed. UsageError for a name that is none.

    Use it in a `with` statement, and call `update(done, total)`.
    """

    def __init__(self, show: Show, unit: str, what: str = "") -> None:
        self._bar: Any = None
        self._plain = False
        self._width = 0  # of the line that the cursor stands in; 0: it stands in an empty one
        self._next = 0.0  # when that line may be written again
        self._unit = unit
        self._what = what or unit
        if isinstance(show, str) and show not in _NAMES:
            raise UsageError(
                f"{self._what}: progress is {show!r}, need True, False, None, {_listed()}"
            )
        wish = _NAMES[show] if isinstance(show, str) else show
        if not (_watched() if wish is None else wish):
            return
        if show == "plain":
            self._plain = True
            return
        try:
            tqdm = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            self._plain = True
            return
        self._bar = tqdm(
            unit=" " + unit, desc=what or None, leave=False, unit_scale=unit == "tokens"
        )

    @property
    def shown(self) -> bool:
        """Whether anything is shown at all."""
        return self._plain or self._bar is not None

    def update(self, done: int, total: int = 0) -> None:
        """So many of `total` are done; 0: nobody knows of how many."""
        if self._bar is not None:
            if total > 0:
                self._bar.total = total
            self._bar.update(done - self._bar.n)
        elif self._plain:
            now = time.monotonic()
            if done != total and now < self._next:
                return
            self._next = now + _SECONDS_BETWEEN
            line = f"{self._what}: {done}" + (f" of {total} {self._unit}" if total > 0 else "")
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self._plain:
            print("\r" + text.ljust(self._width), file=sys.stderr, flush=True)
            self._width = 0

    def end_line(self) -> None:
        """Lets what somebody else prints begin in a line of its own."""
        if self._bar is not None:
            self._bar.clear()
        elif self._width > 0:
            print(file=sys.stderr, flush=True)
            self._width = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_line()
        if self._bar is not None:
            self._bar.close()
