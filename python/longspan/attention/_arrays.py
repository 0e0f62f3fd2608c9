"""What the attention functions of NumPy arrays share: arguments, outputs, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from longspan._arguments import is_torch
from longspan._errors import DTypeError, UsageError

Array = npt.NDArray[Any]
Pullback = Callable[[Any], tuple[Array, ...]]
_F32 = np.dtype(np.float32)


def ready(function: str, name: str, given: Any) -> Array:
    """``given`` as an array whose last axis has no step; most are returned as they are."""
    value: Array = given
    if type(value) is np.ndarray and value.flags.c_contiguous:
        return value
    if not isinstance(value, np.ndarray):
        if hasattr(value, "__dlpack__"):
            try:
                value = np.from_dlpack(value)
            except Exception as error:
                raise DTypeError(f"{function}: {name} is a {type(value).__name__} that NumPy cannot "
                                 f"read: {(str(error) or 'no reason').splitlines()[0]}") from None
        elif isinstance(value, memoryview):
            value = np.asarray(value)
        else:
            raise DTypeError(f"{function}: {name} is a {type(value).__name__}; give an array of "
                             "NumPy or a tensor of torch")
    elif isinstance(value, np.ma.MaskedArray):
        raise DTypeError(f"{function}: {name} is a masked array, whose mask would be ignored; fill "
                         "it with .filled(0), and hide tokens with key_mask")
    strides = value.strides
    if strides and (strides[-1] != value.itemsize or min(strides) < 0):
        return np.ascontiguousarray(value)
    return value


def token_bytes(function: str, name: str, value: Any, largest: int) -> Array | None:
    """A mask or roles as uint8: bools and integers from 0 to ``largest``."""
    if value is None:
        return None
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    elif array.dtype.kind not in "iu":
        raise DTypeError(f"{function}: {name} has elements of type {array.dtype}; give bools or "
                         f"integers from 0 to {largest}")
    if array.size and (array.min() < 0 or array.max() > largest):
        wrong = array[(array < 0) | (array > largest)].flat[0]
        raise UsageError(f"{function}: {name} holds {wrong}; it must hold 0 to {largest}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def sink_numbers(function: str, value: Any) -> Array | None:
    return None if value is None else ready(function, "sinks", value)


def output(function: str, out: Any, q: Array, *others: Array) -> Array:
    """``out``, which must share no memory with the inputs; or a new array."""
    if out is None:
        return np.empty(q.shape, q.dtype)
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"{function}: out is a {type(out).__name__}; give an array of NumPy, or "
                         "nothing")
    for array in (q, *others):
        if np.may_share_memory(out, array) and np.shares_memory(out, array):
            raise UsageError(f"{function}: out shares memory with an input, which is read while out "
                             "is written; give an array of its own")
    return out


def row_numbers(q: Array) -> Array:
    return np.empty(q.shape[:3], _F32)


def output_gradient(function: str, dout: Any, q: Array) -> Array:
    """dout in the type of q, which is what the backward reads."""
    array = ready(function, "dout", dout)
    if array.dtype != q.dtype and array.dtype == np.float32:
        array = array.astype(q.dtype)  # float32 gradients of bfloat16 outputs
    return array


def zeros(array: Array) -> Array:
    return np.zeros(array.shape, np.float32)


def merge_roles(function: str, roles: Array | None, mask: Array | None) -> Array | None:
    """Roles (B, T) in which what the mask hides is hidden."""
    if mask is None or roles is None:
        return mask if roles is None else roles  # a mask's 0 and 1 are hidden and local
    if mask.shape != roles.shape:
        raise UsageError(f"{function}: key_mask is {mask.shape}, roles are {roles.shape}; both must "
                         "be (batch, tokens)")
    return np.where(mask == 0, np.uint8(0), roles)


def no_out(function: str, out: Any) -> None:
    if out is not None:
        raise UsageError(f"{function}: out is for arrays of NumPy; tensors of torch get a new one")


def no_torch(function: str, *values: Any) -> None:
    if is_torch(*values):
        raise DTypeError(f"{function}: it got a tensor of torch, which has autograd for this: call "
                         f"longspan.torch.{function.removesuffix('_vjp')} and backward()")
