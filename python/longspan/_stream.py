"""A text that is read while it is written."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Union

from ._native import _models
from .results import Generation

# What makes the text: gets a flag that ends it and a function that takes its pieces.
Writer = Callable[[_models.CancelFlag, Callable[[str], bool]], Generation]
_Item = Union[str, Generation, BaseException]

_open: weakref.WeakSet[TextStream] = weakref.WeakSet()


class TextStream(Iterator[str]):
    """Iterates over the pieces of a text as soon as they are certain.

    `result` is the whole text, once the iteration has ended. `close()`, the end of a `with`
    statement, and the end of the last reference stop the writing. One thread reads it.
    """

    def __init__(self, write: Writer) -> None:
        self._cancel = _models.CancelFlag()
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._result: Generation | None = None
        self._ended = False
        # The thread has no reference to this object, so that an abandoned stream ends itself.
        parts = (write, self._cancel, self._items)
        self._thread = threading.Thread(
            target=_write, args=parts, daemon=True, name="longspan-text"
        )
        _open.add(self)
        weakref.finalize(self, self._cancel.cancel)
        self._thread.start()

    @property
    def result(self) -> Generation:
        """The whole text. ValueError while the iteration goes on."""
        if self._result is None:
            raise ValueError("result: the text is not finished; iterate to its end first")
        return self._result

    def __iter__(self) -> TextStream:
        return self

    def __next__(self) -> str:
        if self._ended:
            raise StopIteration
        try:
            item = self._items.get()
        except BaseException:  # Ctrl-C while it waits
            self.close()
            raise
        if isinstance(item, str):
            return item
        self._ended = True
        self._thread.join()
        if isinstance(item, BaseException):
            raise item
        self._result = item
        raise StopIteration

    def close(self) -> None:
        """Stops the writing, and waits for its end."""
        self._cancel.cancel()
        self._ended = True
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _write(
    write: Writer, cancel: _models.CancelFlag, items: queue.SimpleQueue[_Item]
) -> None:
    def take(piece: str) -> bool:
        items.put(piece)
        return not cancel.cancelled

    try:
        items.put(write(cancel, take))
    except BaseException as error:  # whoever reads gets it
        items.put(error)


@atexit.register
def _close_all() -> None:
    """A thread that writes must end before the interpreter does."""
    for stream in list(_open):
        with contextlib.suppress(Exception):
            stream.close()
