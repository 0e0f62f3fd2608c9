"""Names of options: what is said about one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names that a call has at most, of which all are listed where none is like the one that was given.
_MOST_LISTED = 8


def unknown_option(function: str, name: str, known: Iterable[str], described: str) -> TypeError:
    """The error for a name that `function` does not know: it suggests the nearest one of `known`,
    and otherwise says what there is. described: the class whose help has all options."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    if near:
        advice = f"did you mean {near[0]!r}?"
    elif len(names) <= _MOST_LISTED:
        advice = f"there are {', '.join(names)}"
    else:
        advice = f"help({described}) lists those that there are"
    return TypeError(f"{function}: unknown option {name!r}; {advice}")
