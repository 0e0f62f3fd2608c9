"""Checks of arguments that the C++ functions would refuse in many lines, and in no words of ours."""

from __future__ import annotations

import operator
import sys
from typing import Any

from longspan._errors import DTypeError, UsageError

_LARGEST = 2**63 - 1


def integer(function: str, name: str, value: Any, least: int = 0) -> int:
    """``value`` as an int of at least ``least``; DTypeError or UsageError in one line."""
    if type(value) is not int:
        try:
            value = operator.index(value)
        except TypeError:
            raise DTypeError(f"{function}: {name} is {_shown(value)}, it must be an integer") from None
    if not least <= value <= _LARGEST:
        raise UsageError(f"{function}: {name} is {value}, it must be from {least} to 2**63 - 1")
    return int(value)


def number(function: str, name: str, value: Any) -> float:
    """``value`` as a float; DTypeError in one line."""
    if type(value) is float:
        return value
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise DTypeError(f"{function}: {name} is {_shown(value)}, it must be a number")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise DTypeError(f"{function}: {name} is {_shown(value)}, it must be a number") from None


def key(function: str, value: Any) -> int:
    """``value`` as the key of random numbers, 64 bits."""
    return integer(function, "dropout_key", value)


def flag(function: str, name: str, value: Any) -> bool:
    """``value`` as a bool: True, False, or a bool of NumPy."""
    if value is True or value is False:
        return value
    if type(value).__name__ in ("bool", "bool_") and hasattr(value, "dtype"):
        return bool(value)
    raise DTypeError(f"{function}: {name} is {_shown(value)}, it must be True or False")


def dilations(function: str, value: Any, heads: int) -> list[int]:
    """A number for all heads, or one for each, as the kernels take it: [] for 1."""
    if type(value) is int and value == 1:
        return []
    if hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
        steps = [integer(function, "dilation", step, 1) for step in value]
        if len(steps) != heads:
            raise UsageError(f"{function}: dilation has {len(steps)} numbers for {heads} heads; "
                             "give one for each head, or one number for all")
        return steps
    return [integer(function, "dilation", value, 1)] * heads


def is_torch(*values: Any) -> bool:
    """Whether any of these is a tensor of torch. Never imports torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    tensor = getattr(torch, "Tensor", None)  # None while torch itself is being imported
    if tensor is None:
        return False
    for value in values:
        if isinstance(value, tensor):
            return True
    return False


def _shown(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    if len(text) > 40:
        text = text[:37] + "..."
    return f"{text} ({type(value).__name__})"
