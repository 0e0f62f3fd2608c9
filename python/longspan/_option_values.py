"""Values of options that the program takes as text: sizes, times, lists."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from typing import Any

from ._errors import UsageError

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(name: str, size: int | str | None) -> int | None:
    """Bytes of an integer, or of a text as the program reads it: "512M", "4G" (powers of 1024)."""
    if size is None:
        return None
    if not isinstance(size, str):
        try:
            return operator.index(size)
        except TypeError:
            pass
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)([KMGT]?)", size) if isinstance(size, str) else None
    if match is None:
        raise UsageError(
            f"{name}: {size!r} is not a number of bytes, alone or with K, M, G or T: 512M, 4G"
        )
    return int(float(match[1]) * 2 ** _UNITS[match[2]])


def seconds(name: str, time: Any) -> Any:
    """Seconds of a text as the program reads it: "90s", "30m", "1h30m". Numbers stay numbers."""
    if not isinstance(time, str):
        return time
    parts = re.findall(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([smhd])", time)
    found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != time or found <= 0:
        raise UsageError(
            f"{name}: {time!r} is no time above 0; give seconds as a number, or numbers with s, m, "
            "h or d: '30m', '1h30m'"
        )
    return found


def names(name: str, value: Any) -> list[Any]:
    """A list of names, or a text with commas between them. The elements are checked later."""
    if isinstance(value, str):
        return value.split(",")
    if isinstance(value, (bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {type(value).__name__}, need a list, or a text with commas")
    return list(value)


def numbers(name: str, value: Any) -> list[Any]:
    """A list of integers, or a text with commas between them."""
    if not isinstance(value, str):
        return names(name, value)
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise UsageError(f"{name}: {value!r} is no list of integers: 384,256,128") from None
