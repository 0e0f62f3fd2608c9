"""Axial positional encodings: vectors of positions from two small tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longspan import _core
from longspan._arguments import integer, is_torch
from longspan._errors import UsageError
from longspan._runtime import wanted_threads
from longspan.attention._arrays import (Array, Pullback, no_torch, ready, zeros)


def axial_positions(table0: Any, table1: Any, tokens: int | None = None, *, start: int = 0) -> Any:
    """Axial positional encodings: vectors of positions from two small tables.

    Position p of a grid of S0 rows and S1 columns has the vector
    ``concatenate(table0[p // S1], table1[p % S1])``.

    Args:
      table0: (S0, D0) float32, of the grid's rows.
      table1: (S1, D1) float32, of its columns.
      tokens: how many positions; None: all from ``start`` to S0 S1.
      start: the first position.

    Returns:
      (tokens, D0 + D1) float32. Raises UsageError if start + tokens exceeds S0 S1, and DTypeError.

    Source: Kitaev, Kaiser, Levskaya 2020; "Axial Positional Embeddings" in trax.
    """
    if is_torch(table0, table1):
        from longspan import torch as other
        return other.axial_positions(table0, table1, tokens, start=start)
    return _axial(table0, table1, tokens, start)[0]


def axial_positions_vjp(table0: Any, table1: Any, tokens: int | None = None, *,
                        start: int = 0) -> tuple[Array, Pullback]:
    """``axial_positions`` and its gradient: ``(out, pullback)``; pullback gives both tables'."""
    no_torch("axial_positions_vjp", table0, table1)
    return _axial(table0, table1, tokens, start)


def axial_shape(function: str, shape0: Sequence[int], shape1: Sequence[int], tokens: Any,
                start: Any) -> tuple[int, int, int]:
    """(tokens, width, start) of the positions that are wanted of tables of these shapes."""
    if len(shape0) != 2 or len(shape1) != 2:
        raise UsageError(f"{function}: the tables have shapes {tuple(shape0)} and {tuple(shape1)}; "
                         "they must be (rows, width) and (columns, width)")
    first = integer(function, "start", start)
    most = shape0[0] * shape1[0]
    count = most - first if tokens is None else integer(function, "tokens", tokens)
    if count < 0 or first + count > most:
        raise UsageError(f"{function}: positions {first} to {first + count} exceed the grid of "
                         f"{shape0[0]} x {shape1[0]} = {most}")
    return count, shape0[1] + shape1[1], first


def _axial(table0: Any, table1: Any, tokens: Any, start: Any) -> tuple[Array, Pullback]:
    name = "axial_positions"
    t0, t1 = ready(name, "table0", table0), ready(name, "table1", table1)
    count, width, first = axial_shape(name, t0.shape, t1.shape, tokens, start)
    out = np.zeros((count, width), np.float32)
    _core.axial_forward(t0, t1, out, first, wanted_threads())

    def pull(dout: Any) -> tuple[Array, ...]:
        dt0, dt1 = zeros(t0), zeros(t1)
        _core.axial_backward(t0, t1, ready("axial_positions_vjp", "dout", dout), dt0, dt1, first,
                             wanted_threads())
        return dt0, dt1

    return out, pull
