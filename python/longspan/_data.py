"""What trainings and evaluations read: files as they stand, and rows that are in memory."""

from __future__ import annotations

import json
import numbers
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union

from ._errors import UsageError
from ._native import fspath

if TYPE_CHECKING:
    from ._native import PathLike

    # Rows by the names of their fields, or values in an order that the task has: (text, label).
    Rows = Iterable[Union[Mapping[str, Any], tuple[Any, ...]]]
    # Paths of files and folders, rows, a DataFrame of pandas, or a column of texts.
    Data = Union[PathLike, Iterable[PathLike], Rows, Any]


def _plain(value: Any) -> Any:
    """A value of NumPy or pandas as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} is no text, number or list")


def _is_missing(value: Any) -> bool:
    """Whether pandas writes this where there is no value: NaN, NaT, NA."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and bool(value != value)


def _records(frame: Any) -> list[dict[str, Any]]:
    """The rows of a DataFrame, without the fields that have no value."""
    return [
        {str(name): value for name, value in row.items() if not _is_missing(value)}
        for row in frame.to_dict("records")
    ]


def _is_column(data: Any) -> bool:
    """Whether these are a Series of pandas, or an array of one axis."""
    return hasattr(data, "tolist") and getattr(data, "ndim", 0) == 1


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


# What the values of a row without names are, by task: options that name fields, and these names.
_FORMS: dict[str, list[list[tuple[str, str]]]] = {
    "token-classify": [[("word_field", "tokens"), ("tag_field", "tags")]],
    "embed": [
        [("anchor_field", "anchor"), ("positive_field", "positive")],
        [
            ("anchor_field", "anchor"),
            ("positive_field", "positive"),
            ("negative_field", "negative"),
        ],
    ],
    "rerank": [[("query_field", "query"), ("text_field", "text"), ("label_field", "label")]],
    "qa": [],
    "multiple-choice": [],
}
_SCORED = [("first_field", "sentence1"), ("second_field", "sentence2"), ("score_field", "score")]
_LABELLED = [[("text_field", "text"), ("label_field", "label")]]


# Tasks that learn from texts alone: columns of pandas and arrays are such, lists are paths.
_OF_TEXTS = ("lm", "mlm")


class DataFiles:
    """Makes paths of data. Rows become JSON lines in a folder of their own, for as long as the
    `with` statement lasts."""

    def __init__(self, function: str, task: str, options: Mapping[str, Any]) -> None:
        self._function = function
        self._task = task
        self._options = options
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> DataFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def paths(self, name: str, data: Any) -> list[str]:
        """The paths that `data` means. UsageError for none, and for rows that are no rows."""
        place = f"{self._function}: {name}"
        if _is_path(data):
            return [fspath(place, data)]
        if hasattr(data, "to_dict") and hasattr(data, "columns"):
            data = _records(data)
        if isinstance(data, Mapping) or not isinstance(data, Iterable):
            parts = " or ".join(f"[{key!r}]" for key in data) if isinstance(data, Mapping) else ""
            advice = f"; give one part of it: {parts}" if 0 < len(parts) <= 80 else ""
            raise TypeError(
                f"{place} is {type(data).__name__}, need paths, or a list of rows{advice}"
            )
        texts = self._task in _OF_TEXTS and _is_column(data)
        rows = list(data)
        if not rows:
            raise UsageError(f"{place} is empty")
        if texts:
            field = self._options.get("text_field") or "text"
            return [self._write(name, place, [{field: text} for text in rows])]
        if all(_is_path(row) for row in rows):
            return [fspath(f"{place}[{i}]", row) for i, row in enumerate(rows)]
        return [self._write(name, place, rows)]

    def path(self, name: str, data: Any) -> str:
        """The same where one file or folder is wanted."""
        paths = self.paths(name, data)
        if len(paths) != 1:
            raise UsageError(
                f"{self._function}: {name} is {len(paths)} paths, need one file or one folder"
            )
        return paths[0]

    def by_rows(self, line: str) -> str:
        """A message with the places of rows in memory: train[2] for the third line of its file."""
        if self._folder is None:
            return line
        place = re.escape(self._folder.name) + r"/(\w+)\.jsonl(?::(\d+))?"
        return re.sub(place, lambda m: m[1] + (f"[{int(m[2]) - 1}]" if m[2] else ""), line)

    def _write(self, name: str, place: str, rows: list[Any]) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="longspan-")
        path = os.path.join(self._folder.name, f"{name}.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for number, row in enumerate(rows):
                try:
                    file.write(json.dumps(self._row(row), default=_plain) + "\n")
                except TypeError as error:
                    raise TypeError(f"{place}[{number}]: {error}") from None
        return path

    def _row(self, row: Any) -> dict[str, Any]:
        if isinstance(row, Mapping):
            return dict(row)
        if isinstance(row, (tuple, list)):
            for form in self._forms(row):
                return {self._options.get(o) or name: v for (o, name), v in zip(form, row)}
        shapes = [
            f"({', '.join(name for _, name in form)})"
            for form in [*_FORMS.get(self._task, _LABELLED), *self._scored()]
        ]
        raise TypeError(
            f"{type(row).__name__} is no row: need {' or '.join(['a mapping', *shapes])}"
        )

    def _forms(self, row: Sequence[Any]) -> Iterator[list[tuple[str, str]]]:
        """The forms that such a row has; the first one counts."""
        if self._task == "embed" and len(row) == 3 and _is_number(row[2]):
            yield _SCORED
        first = (list, tuple) if self._task == "token-classify" else (str,)
        for form in _FORMS.get(self._task, _LABELLED):
            if len(form) == len(row) and isinstance(row[0], first):
                yield form

    def _scored(self) -> list[list[tuple[str, str]]]:
        return [_SCORED] if self._task == "embed" else []


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)
