"""What happens to vectors after the model: cut, scaled, packed, compared."""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ._errors import FormatError, UsageError
from ._native import _models

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# Fewer vectors say too little about the ranges of their channels; the program has this number, too.
_FEW_VECTORS = 100
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def read_config(folder: str) -> dict[str, Any]:
    """A folder's config_sentence_transformers.json; empty: it has none."""
    path = os.path.join(folder, "config_sentence_transformers.json")
    if not folder or not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except ValueError as error:
        raise FormatError(f"{path}: no JSON: {error}") from None
    if not isinstance(config, dict):
        raise FormatError(f"{path}: need an object, it holds {type(config).__name__}")
    return config


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row scaled to length 1; a zero row stays zero."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def cut(vectors: NDArray[np.float32], width: int | None) -> NDArray[np.float32]:
    """The first `width` channels of each vector (Matryoshka models); None: all."""
    if width is None:
        return vectors
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UsageError(f"truncate_dim is {width!r}, need an integer of at least 1, or None")
    return np.ascontiguousarray(vectors[..., :width])


def quantize(
    vectors: NDArray[np.float32], precision: str, ranges: ArrayLike | None, frames: int = 1
) -> NDArray[Any]:
    """Vectors (N, D) with fewer bits, by the library's rules: those of quantize_embeddings.
    frames: of the package between this one and a user's line, which warnings name."""
    check_precision(precision)
    if ranges is not None and precision not in ("int8", "uint8"):
        raise UsageError(f"ranges belong to the precisions int8 and uint8, not to {precision}")
    if precision == "float32":
        return vectors
    if precision in ("binary", "ubinary"):
        bits = _models.quantize(vectors, "ubinary", None)
        return bits if precision == "ubinary" else _less_128(bits)
    if ranges is None and len(vectors) < 2:
        raise UsageError(
            f"precision '{precision}' needs ranges (2, D), the least and the largest number of "
            f"each channel: {len(vectors)} vectors have none of their own"
        )
    if ranges is None and len(vectors) < _FEW_VECTORS:
        warnings.warn(
            f"the ranges of {precision} come from {len(vectors)} vectors alone; give ranges, the "
            "least and the largest numbers of more",
            RuntimeWarning,
            stacklevel=frames + 2,
        )
    steps = _models.ranges_of(vectors) if ranges is None else fp32_rows("ranges", ranges)
    signed = _models.quantize(vectors, "int8", steps)
    return signed if precision == "int8" else (signed.astype(np.int16) + 128).astype(np.uint8)


def _less_128(bits: NDArray[Any]) -> NDArray[np.int8]:
    return (bits.astype(np.int16) - 128).astype(np.int8)


def fp32_rows(name: str, rows: ArrayLike) -> NDArray[np.float32]:
    """(N, D) in fp32, rows one after another in memory."""
    array = np.ascontiguousarray(np.asarray(rows), dtype=np.float32)
    if array.ndim != 2:
        raise UsageError(f"{name} has the shape {array.shape}, need (N, D)")
    return array


def check_precision(precision: str) -> None:
    """UsageError for a precision that is not made here."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}, need one of {', '.join(PRECISIONS)}")


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.atleast_2d(np.asarray(a, dtype=np.float64))
    y = np.atleast_2d(np.asarray(b, dtype=np.float64))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise UsageError(
            f"similarity: vectors {np.shape(a)} and {np.shape(b)} do not fit; "
            "need (N, D) and (M, D)"
        )
    return x, y


def _units(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def similarity(name: str, a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """(N, M) of vectors (N, D) and (M, D); of distances their negative, as nearer is more."""
    x, y = _pair(a, b)
    if name == "cosine":
        result = _units(x) @ _units(y).T
    elif name == "dot":
        result = x @ y.T
    elif name == "euclidean":
        result = -np.stack([np.linalg.norm(y - row, axis=1) for row in x])
    else:
        result = -np.stack([np.abs(y - row).sum(axis=1) for row in x])
    return np.asarray(result, dtype=np.float32)


def similarity_pairwise(name: str, a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """(N) of vectors (N, D) and (N, D), row by row."""
    x, y = _pair(a, b)
    if x.shape != y.shape:
        raise UsageError(f"similarity_pairwise: {len(x)} and {len(y)} vectors, need as many")
    if name == "cosine":
        result = (_units(x) * _units(y)).sum(axis=1)
    elif name == "dot":
        result = (x * y).sum(axis=1)
    elif name == "euclidean":
        result = -np.linalg.norm(x - y, axis=1)
    else:
        result = -np.abs(x - y).sum(axis=1)
    return np.asarray(result, dtype=np.float32)
