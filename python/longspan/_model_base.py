"""What every part of a model's class shares: the loaded model, and how a call of it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, Union

import numpy as np

from . import _vectors
from ._native import _models, call_options, named

Text = Union[str, bytes]
TextOrPair = Union[str, bytes, tuple[Union[str, bytes], Union[str, bytes]]]


class RowOptions(TypedDict, total=False):
    """How texts become rows of tokens. Each method of a model that takes texts takes these.

    max_length: tokens of a row, special ones included; 0: all positions of the model.
    overflow: what becomes of a longer text: "window" (several rows, nothing is lost), "truncate" or
        "error". The default suits the task: windows, and an error for multiple choice.
    stride: tokens that neighbouring windows share.
    global_tokens: which tokens see all others, of Longformers: "auto", "head", "none", "first:N",
        "question", "every:N", "positions:1,2,7" or "token:TEXT". "auto" is the rule of the training, where
        the model's folder says it (ModelInfo's global_rule), and otherwise "head", what the head
        needs.
    batch_tokens: tokens of the rows that run together, padding included.
    tokens, global_: the program's spellings of max_length and global_tokens.
    """

    max_length: int
    overflow: str
    stride: int
    global_tokens: str
    batch_tokens: int
    tokens: int
    global_: str


class ModelBase:
    """A loaded model, and what it was loaded with."""

    def __init__(
        self,
        inner: _models.Model,
        options: dict[str, Any],
        rows: Mapping[str, Any],
        threads: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self._inner = inner
        self._options = options
        self._rows = dict(rows)
        self._info = inner.info()
        self._tasks: dict[tuple[Any, ...], _models.TaskModel] = {}
        self._embedders: dict[tuple[Any, ...], _models.Embedder] = {}
        self._sentences = _vectors.read_config(inner.directory())
        self.threads = threads
        self.memory_limit = memory_limit

    @property
    def labels(self) -> list[str]:
        """Names of a classifier's classes."""
        return list(self._info["labels"])

    @property
    def path(self) -> str:
        """The folder that it was loaded from."""
        return self._inner.directory()

    def _call(
        self,
        progress: Callable[[int, int], Any] | None = None,
        cancel: _models.CancelFlag | None = None,
    ) -> dict[str, Any]:
        return call_options(self.threads, self.memory_limit, progress, cancel)

    def _task(self, rows: Mapping[str, Any]) -> _models.TaskModel:
        options = named({**self._rows, **rows})
        key = tuple(sorted(options.items()))
        task = self._tasks.get(key)
        if task is None:
            task = _models.TaskModel.make(self._inner, options)
            remember(self._tasks, key, task)
        return task


# Settings of a model that are kept ready at most.
_MOST_REMEMBERED = 16
_lock = threading.Lock()


def remember(cache: dict[tuple[Any, ...], Any], key: tuple[Any, ...], value: Any) -> None:
    """Puts a value into a cache, in the place of the oldest one if it is full."""
    with _lock:
        while len(cache) >= _MOST_REMEMBERED:
            cache.pop(next(iter(cache)))
        cache[key] = value


def many(name: str, texts: Any) -> tuple[list[Any], bool]:
    """A list of what was given, and whether that was one: a text, or a pair as a tuple."""
    if isinstance(texts, (str, bytes, tuple)):
        return [texts], True
    if hasattr(texts, "columns") and hasattr(texts, "to_dict"):
        raise TypeError(
            f"{name} is a DataFrame, need a text or a list of texts, such as a column of it"
        )
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise TypeError(f"{name} is {type(texts).__name__}, need a text or a list of texts")
    return [str(t) if isinstance(t, np.str_) else t for t in texts], False


def text_of(text: Text) -> str:
    """A text as a str: its characters are those that places of results count."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
