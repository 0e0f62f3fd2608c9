"""Texts and rows as data scientists have them: frames, columns, arrays, generators, data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan._data import DataFiles  # noqa: E402
from longspan.models import Model  # noqa: E402

TEXTS = ["a good day", "a bad day at sea"]


class Series:
    """What a Series of pandas has: its index is no number of a row."""

    ndim = 1

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def tolist(self) -> list[Any]:
        return self.values


class NAType:
    """pandas.NA: it has no truth value."""

    def __ne__(self, other: object) -> Any:
        raise TypeError("boolean value of NA is ambiguous")


class Frame:
    """What a DataFrame of pandas has."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.columns = list(rows[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return self.rows


class Dataset:
    """What a data set of Hugging Face's has, as far as it is read."""

    column_names = ("text", "label")

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, list[Any]]:
        return {name: [row[name] for row in self.rows] for name in self.column_names}


def test_columns_and_generators_of_texts(models: dict[str, Model]) -> None:
    whole = models["classify"].classify(TEXTS)
    for texts in (Series(TEXTS), np.array(TEXTS), np.array(TEXTS, object), (t for t in TEXTS)):
        asked: Any = texts
        assert models["classify"].classify(asked) == whole
    vectors = models["mlm"].encode(TEXTS)
    column: Any = Series(TEXTS)
    assert np.array_equal(models["mlm"].encode(column), vectors)
    with pytest.raises(TypeError, match="texts is a DataFrame, need a text or a list of texts"):
        models["classify"].classify(Frame([{"text": "a"}]))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"texts\[1\] is float, need str"):
        models["classify"].classify(Series(["a", float("nan")]))  # type: ignore[call-overload]


def test_rows_of_data_sets(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": text, "label": np.int64(i % 2)} for i, text in enumerate(TEXTS * 2)]
    options: dict[str, Any] = {"steps": 1, "batch": 4, "accumulate": 1}
    made = [
        longspan.train(
            "classify", folders["mlm"], tmp_path / str(i), train=data, eval=rows, **options
        )
        for i, data in enumerate([rows, Dataset(rows), Frame(rows), (row for row in rows)])
    ]  # fmt: skip
    assert len({run.loss for run in made}) == 1
    with pytest.raises(TypeError, match=r"train: train is dict, .*; give .*\['test'\]"):
        parts = {"train": rows, "test": rows}
        longspan.train("classify", folders["mlm"], tmp_path / "no", train=parts)


def test_texts_without_labels(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in TEXTS * 16))
    options: dict[str, Any] = {"steps": 1, "tokens": 16, "accumulate": 1, "held_out": 0.5}
    runs = [
        longspan.train("mlm", folders["mlm"], tmp_path / str(i), train=data, **options)
        for i, data in enumerate([path, Series(TEXTS * 16), np.array(TEXTS * 16)])
    ]
    assert len({run.loss for run in runs}) == 1


def test_values_that_are_missing(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": "x", "text_pair": "b"},
        {"text": "b", "label": "y", "text_pair": float("nan")},
        {"text": "c", "label": NAType(), "text_pair": None},
    ]
    with DataFiles("train", "classify", {}) as files:
        (path,) = files.paths("train", Frame(rows))
        read = Path(path).read_text().splitlines()
        assert read[1:] == ['{"text": "b", "label": "y"}', '{"text": "c", "text_pair": null}']
        assert files.by_rows(f"{path}:3: it has none") == "train[2]: it has none"
    with pytest.raises(longspan.FormatError, match=r"train\[2\]") as caught:
        longspan.train("classify", folders["mlm"], tmp_path / "run", train=Frame(rows), steps=1)
    assert "jsonl" not in str(caught.value)
    assert "`longspan data stats --task classify`" in str(caught.value)
