"""What ran in each layer: counts that ``longspan.hf.report`` reads and starts anew."""

from __future__ import annotations

from collections import Counter
from weakref import WeakKeyDictionary

import torch

_calls: WeakKeyDictionary[torch.nn.Module, Counter[str]] = WeakKeyDictionary()


def note(module: torch.nn.Module, kind: str) -> None:
    """One call of a layer. Compiled code is not counted: it would have to leave the graph."""
    if torch.compiler.is_compiling():
        return
    counts = _calls.get(module)
    if counts is None:
        counts = _calls[module] = Counter()
    counts[kind] += 1


def counts_of(module: torch.nn.Module) -> Counter[str]:
    """The calls of a layer since they were last forgotten; kinds with 0 calls ran before that."""
    return Counter(_calls.get(module, {}))


def forget(module: torch.nn.Module) -> None:
    """Starts the counts of a layer anew; what kinds it ran stays known."""
    for kind in _calls.get(module, {}):
        _calls[module][kind] = 0
