"""What trainings and evaluations read: files as they stand, and rows that are in memory."""

from __future__ import annotations

import json
import numbers
import os
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
    # Paths of files and folders, rows, or a DataFrame of pandas.
    Data = Union[PathLike, Iterable[PathLike], Rows, Any]


def _plain(value: Any) -> Any:
    """A value of NumPy or pandas as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} is no text, number or list")


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
            data = data.to_dict("records")
        if isinstance(data, Mapping) or not isinstance(data, Iterable):
            raise TypeError(
                f"{place} is {type(data).__name__}, need paths, or a list of rows"
            )
        rows = list(data)
        if not rows:
            raise UsageError(f"{place} is empty")
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
