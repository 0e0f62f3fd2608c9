"""What trainings and evaluations read: files as they stand, and rows that are in memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union

from ._errors import UsageError
from ._native import fspath

if TYPE_CHECKING:
    from ._native import PathLike

    Rows = Iterable[Union[Mapping[str, Any], tuple[str, Any]]]
    # Paths of files and folders, rows, or a DataFrame of pandas.
    Data = Union[PathLike, Iterable[PathLike], Rows, Any]


def _plain(value: Any) -> Any:
    """A value of NumPy or pandas as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} is no text, number or list")


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


class DataFiles:
    """Makes paths of data. Rows become JSON lines in a folder of their own, for as long as the
    `with` statement lasts."""

    def __init__(self, function: str, options: Mapping[str, Any]) -> None:
        self._function = function
        self._text = options.get("text_field") or "text"
        self._label = options.get("label_field") or "label"
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
                f"{place} is {type(data).__name__}, need paths, or rows: mappings, or pairs of a "
                "text and a label"
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
        if isinstance(row, (tuple, list)) and len(row) == 2 and isinstance(row[0], str):
            return {self._text: row[0], self._label: row[1]}
        raise TypeError(
            f"{type(row).__name__} is no row: need a mapping, or a pair of a text and a label"
        )
