"""Notes of trainings and evaluations: lines of a log."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ._native import in_python

log = logging.getLogger("longspan")


def tell(notes: Iterable[str]) -> None:
    """Logs notes for the logger "longspan" with the level WARNING: without any setting Python
    prints them on stderr, as the program does."""
    for note in notes:
        log.warning("%s", in_python(note))
