"""Wrong arguments end in a TypeError or ValueError of one line, before anything is computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import longspan

SHAPE = (2, 4, 24, 8)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "full": longspan.full_attention,
    "window": longspan.window_attention,
    "chunked": longspan.chunked_attention,
    "lsh": lambda q, k, v, **options: longspan.lsh_attention(q, v, chunk=8, **options),
    "full_vjp": longspan.full_attention_vjp,
    "window_vjp": longspan.window_attention_vjp,
    "chunked_vjp": longspan.chunked_attention_vjp,
    "lsh_vjp": lambda q, k, v, **options: longspan.lsh_attention_vjp(q, v, chunk=8, **options),
}


def good() -> Any:
    return np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)


def of_type(kind: Any) -> Callable[[], Any]:
    return lambda: good().astype(kind)


def of_shape(*shape: int) -> Callable[[], Any]:
    return lambda: np.zeros(shape, np.float32)


class Unreadable:
    """Says that it speaks DLPack, and does not."""

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("no\nway")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)  # a GPU


WRONG: dict[str, Callable[[], Any]] = {
    # element types
    "float64": of_type(np.float64), "float16": of_type(np.float16), "int8": of_type(np.int8),
    "int32": of_type(np.int32), "int64": of_type(np.int64), "uint8": of_type(np.uint8),
    "uint16": of_type(np.uint16), "bool": of_type(np.bool_), "complex64": of_type(np.complex64),
    "longdouble": of_type(np.longdouble), "object": of_type(object), "text": of_type("U8"),
    "bytes": lambda: np.zeros(SHAPE, "S4"), "dates": lambda: np.zeros(SHAPE, "M8[s]"),
    "big endian": of_type(">f4"), "record": lambda: np.zeros(SHAPE, [("x", "f4")]),
    # no arrays
    "list": lambda: good().tolist(), "number": lambda: 1.0, "None": lambda: None,
    "string": lambda: "q", "dict": dict, "generator": lambda: (x for x in ()),
    "raw bytes": lambda: b"1234", "raw memory": lambda: memoryview(b"1234"),
    "on a GPU": Unreadable,
    # shapes
    "scalar": lambda: np.float32(1), "no axis": of_shape(), "1 axis": of_shape(8),
    "2 axes": of_shape(24, 8), "3 axes": of_shape(4, 24, 8), "5 axes": of_shape(1, 2, 4, 24, 8),
    "empty": of_shape(0), "no batch": of_shape(0, 4, 24, 8), "no heads": of_shape(2, 0, 24, 8),
    "no tokens": of_shape(2, 4, 0, 8), "no channels": of_shape(2, 4, 24, 0),
    "other batch": of_shape(3, 4, 24, 8), "other tokens": of_shape(2, 4, 25, 8),
    "other channels": of_shape(2, 4, 24, 9), "heads that do not divide": of_shape(2, 3, 24, 8),
    "more key heads": of_shape(2, 8, 24, 8), "transposed": of_shape(2, 24, 4, 8),
    "masked": lambda: np.ma.masked_array(good(), mask=True),
    # layouts
    "unaligned": lambda: np.zeros(2 * 4 * 24 * 8 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(SHAPE),
    "a field": lambda: np.zeros(SHAPE, [("a", "u1"), ("x", "f4")])["x"][..., :1],
}
OPTIONS: dict[str, list[Any]] = {
    "causal": [1, 0, "yes", None, np.ones(2, bool), 0.5],
    "scale": ["1", np.nan, np.inf, 1e40, [1.0], 1j, b"1"],
    "dropout": [-0.1, 1.0, 2, np.nan, "0.1", None, [0.1]],
    "dropout_key": [-1, 1.5, "7", None, 2**64],
    "key_mask": [np.ones((2, 25), bool), np.ones((24,), bool), np.ones((2, 4, 24), bool),
                 np.ones((2, 24), np.float32), np.full((2, 24), 2), np.full((2, 24), -1), "mask", 1.0,
                 np.ones((3, 24), bool), np.ones((2, 24), complex), [[None] * 24] * 2],
}
MORE: dict[str, dict[str, list[Any]]] = {
    "full": {"sinks": [np.zeros(3, np.float32), np.zeros((4, 1), np.float32), np.zeros(4), "s", 1.0],
             "out": [np.zeros(SHAPE), np.zeros((2, 4, 24, 9), np.float32), "out", [1.0],
                     np.zeros(SHAPE, np.float32)[:1],
                     np.broadcast_to(np.zeros((1, 4, 24, 8), np.float32), SHAPE)]},
    "window": {"left": [-1, 1.5, "2", None, 2**63, [1]], "right": [-1, 0.5, "2", None, 2**63],
               "dilation": [0, -1, 1.5, [1, 2], [0] * 4, "2", [1, 1, 1, "x"], None],
               "sinks": [np.zeros(3, np.float32), np.zeros(4), "s"],
               "roles": [np.full((2, 24), 3), np.full((2, 24), -1), np.ones((2, 25), int), "roles",
                         np.ones((2, 24)), np.ones(24, int)],
               "global_qkv": [1, (1, 2), (good(), good(), good()), "abc"],
               "out": [np.zeros(SHAPE), "out"]},
    "chunked": {"chunk": [0, -1, 1.5, "2", None, 2**63, 2**63 - 1], "before": [-1, 0.5, "1", None, 2**62],
                "after": [-1, 0.5, "1", None], "out": [np.zeros(SHAPE), "out"]},
    "lsh": {"rounds": [0, -1, 1.5, "1", None, 1025, 2**63 - 1], "num_buckets": [3, 0, -2, 1.5, "4", [2, 3], [], [1]],
            "seed": [-1, 1.5, "a", None], "rotations": [np.zeros((4, 8, 1, 1), np.float32), "r",
                                                        np.zeros((4, 8, 1, 3))],
            "buckets": [np.zeros((2, 4, 1, 24), np.int64), np.zeros((2, 4, 2, 24), np.uint16), "b"],
            "before": [-1, 0.5], "after": [-1, "1"]},
}


def cases() -> list[Any]:
    found = []
    for function, (kind, make), place in itertools.product(FUNCTIONS, WRONG.items(), range(3)):
        if function.startswith("lsh") and place == 1:
            continue  # it has two arrays
        if kind == "more key heads" and place == 0 and not function.startswith(("chunked", "lsh")):
            continue  # twice as many queries as keys are right
        found.append(pytest.param(function, place, make, {}, id=f"{function}-{'qkv'[place]}-{kind}"))
    for function in FUNCTIONS:
        options = {**OPTIONS, **MORE.get(function.removesuffix("_vjp"), {})}
        if function.startswith("lsh"):
            options.pop("scale")
        for name, values in options.items():
            if name == "out" and function.endswith("_vjp"):
                continue
            for number, value in enumerate(values):
                found.append(pytest.param(function, -1, None, {name: value},
                                          id=f"{function}-{name}-{number}"))
    return found


CASES = cases()


def test_there_are_many() -> None:
    assert len(CASES) >= 500


@pytest.mark.parametrize("function,place,make,options", CASES)
def test_wrong_argument(function: str, place: int, make: Any, options: Any) -> None:
    arrays = [good(), good(), good()]
    if place >= 0:
        arrays[place] = make()
    with pytest.raises((TypeError, ValueError)) as caught:
        FUNCTIONS[function](*arrays, **options)
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 400
    assert isinstance(caught.value, longspan.Error) and caught.value.code == 2


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 24, 9), np.float32), np.zeros(SHAPE), "x", None,
                                   np.zeros((4, 24, 8), np.float32), np.zeros(SHAPE, np.int32)])
@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name.endswith("_vjp")])
def test_wrong_gradient(function: str, wrong: Any) -> None:
    _, pull = FUNCTIONS[function](good(), good(), good())
    with pytest.raises((TypeError, ValueError)) as caught:
        pull(wrong)
    assert isinstance(caught.value, longspan.Error) and "\n" not in str(caught.value)


def test_read_only_output() -> None:
    out = np.zeros(SHAPE, np.float32)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out is read-only"):
        longspan.full_attention(good(), good(), good(), out=out)


def test_output_that_is_an_input() -> None:
    q, k = good(), good()
    for out in (q, k, q[::-1]):
        with pytest.raises(ValueError, match="out shares memory with an input"):
            longspan.full_attention(q, k, k, out=out)
    both = np.zeros((2, *SHAPE), np.float32)  # neighbours in one array are apart
    assert np.isfinite(longspan.full_attention(both[0], k, k, out=both[1])).all()


def test_axial_tables() -> None:
    table = np.zeros((3, 4), np.float32)
    for wrong in ("t", None, np.zeros(3, np.float32), np.zeros((3, 4)), 1.0, [[1.0]]):
        with pytest.raises((TypeError, ValueError)) as caught:
            longspan.axial_positions(table, wrong)
        assert "\n" not in str(caught.value) and isinstance(caught.value, longspan.Error)
    for options in ({"tokens": 10}, {"tokens": -1}, {"start": 10}, {"start": -1}, {"tokens": 1.5}):
        with pytest.raises((TypeError, ValueError)) as caught:
            longspan.axial_positions(table, table, **options)
        assert "\n" not in str(caught.value) and isinstance(caught.value, longspan.Error)


def test_errors_are_the_usual_ones() -> None:
    for kind, base in ((longspan.UsageError, ValueError), (longspan.DTypeError, TypeError),
                       (longspan.FormatError, ValueError), (longspan.IoError, OSError),
                       (longspan.LimitError, MemoryError), (longspan.NumericError, ArithmeticError),
                       (longspan.LockedError, RuntimeError), (longspan.PeerError, RuntimeError)):
        assert issubclass(kind, base) and issubclass(kind, longspan.Error)
        assert str(kind("words")) == "words"
