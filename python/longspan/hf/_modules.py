"""What the modules of accelerated models share."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor

from longspan._errors import DTypeError
from longspan.torch import _kernels


def heads_of(module: Any, projection: Tensor, heads: int, head_size: int) -> Tensor:
    """A projection (B, T, H D) as (B, H, T, D), the kernels' view of the same memory.

    Raises DTypeError for what no kernel computes with: the model has moved or changed its type
    since ``accelerate``.
    """
    if not projection.is_cpu:
        raise DTypeError(f"{type(module).__name__}: the input is on the device "
                         f"'{projection.device}'; move the model with .cpu() (a Trainer: "
                         "use_cpu=True), or call longspan.hf.restore(model)")
    if projection.dtype not in (torch.float32, torch.bfloat16):
        raise DTypeError(f"{type(module).__name__}: projections have elements of type "
                         f"{projection.dtype}; use float32 or bfloat16, or call "
                         "longspan.hf.restore(model)")
    split = projection.reshape(*projection.shape[:2], heads, head_size)
    return _kernels.ready(split).transpose(1, 2)


def joined(out: Tensor) -> Tensor:
    """(B, H, T, D), whose memory is (B, T, H, D), as (B, T, H D)."""
    b, h, t, d = out.shape
    return out.transpose(1, 2).reshape(b, t, h * d)


def dropout_key() -> Tensor:
    """A new key of random numbers, from torch's generator: checkpoints draw the same again."""
    return torch.randint(2**63 - 1, (), dtype=torch.int64)


def with_global(function: Callable[..., Any], name: str, value: Any) -> Callable[..., Any]:
    """A copy of ``function`` that finds ``value`` where it looks up the global ``name``.

    The original, its module and all that use it stay as they are, so this is safe while other
    threads run them. Functions inside of decorators that set __wrapped__ are found. Returns
    ``function`` itself if it uses no such name.
    """
    if not isinstance(function, FunctionType):
        return function
    names, cells = function.__globals__, function.__closure__
    inner = getattr(function, "__wrapped__", None)
    if inner is not None:
        changed = with_global(inner, name, value)
        if changed is inner:
            return function
        cells = tuple(CellType(changed) if cell.cell_contents is inner else cell
                      for cell in cells or ())
    elif name in function.__code__.co_names and name in names:
        names = {**names, name: value}
    else:
        return function
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    copy.__doc__, copy.__qualname__ = function.__doc__, function.__qualname__
    copy.__module__, copy.__annotations__ = function.__module__, function.__annotations__
    if inner is not None:
        copy.__dict__["__wrapped__"] = changed
    return copy
