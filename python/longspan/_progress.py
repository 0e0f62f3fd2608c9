"""Progress of long calls: tqdm where it is installed, plain text where somebody asked for it."""

from __future__ import annotations

import importlib
import sys
from types import TracebackType
from typing import Any


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def _watched() -> bool:
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


class Bar:
    """Shows how much of `total` is done. `show` None: if tqdm is installed and somebody watches.

    Use it in a `with` statement, and call `update(done, total)`.
    """

    def __init__(self, show: bool | None, unit: str, what: str = "") -> None:
        self._bar: Any = None
        self._plain = False
        self._what = what or unit
        if show is False or (show is None and not _watched()):
            return
        try:
            tqdm = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            self._plain = show is True
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
            of = f" of {total}" if total > 0 else ""
            print(f"\r{self._what}: {done}{of}", end="", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self._plain:
            print(f"\r{text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._plain:
            print(file=sys.stderr)
