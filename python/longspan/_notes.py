"""Notes of trainings and evaluations: warnings where somebody should act, else lines of a log."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable

from ._native import in_python

log = logging.getLogger("longspan")

# Notes that state what was chosen or done, and that ask nothing of anybody. All others warn, also
# those that are not known here.
_FACTS = re.compile(
    r"global tokens: |new: |left out: |resumed at step |text: \d+ tokens |packed: |\d+ ranks, "
    r"|each row is shared by |the run had ended early |step \d+: the run ends early: "
    r"|extended from .*: the bits are those of one long run$"
    r"|.*: pairs: \".* is the second text of "
    r"|.* (are read in \d+ windows; |longer than \d+ tokens? and read in windows)"
)


def states_a_fact(note: str) -> bool:
    """Whether a note asks nothing of anybody: it is logged, and is no warning."""
    return _FACTS.match(note) is not None


def tell(notes: Iterable[str], stacklevel: int) -> None:
    """Logs notes that state facts for the logger "longspan" (INFO), and makes a RuntimeWarning of
    each other one. stacklevel: that of warnings.warn, counted from the caller."""
    for note in notes:
        line = in_python(note)
        if states_a_fact(note):
            log.info("%s", line)
        else:
            warnings.warn(line, RuntimeWarning, stacklevel=stacklevel + 1)
