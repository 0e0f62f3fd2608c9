"""``report(model)``: which layers of a model run on longspan, and why others do not."""

from __future__ import annotations

import html
import inspect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from longspan.hf import records

_HOOK = "ALL_ATTENTION_FUNCTIONS"  # the global that a layer asks for its attention function
_FALLBACK = "fallback: "
_SERVED = {"LongformerSelfAttention", "LEDEncoderSelfAttention", "LSHSelfAttention",
           "LocalSelfAttention"}  # by accelerate


@dataclass
class LayerReport:
    """One attention layer.

    Attributes:
      name: the module's place in the model, as in ``named_modules``.
      kind: the class of the module.
      runs: what it has run on longspan, with the number of calls since the last report.
      fallbacks: why torch computed it instead, with the number of calls.
      reached: whether longspan computes it, or can.
      accelerated: whether that is the work of accelerate(model), not of register().
      note: what else there is to know.
    """

    name: str
    kind: str
    runs: dict[str, int] = field(default_factory=dict)
    fallbacks: dict[str, int] = field(default_factory=dict)
    reached: bool = True
    accelerated: bool = False
    note: str = ""

    @property
    def what(self) -> str:
        """What the layer runs, in words."""
        if self.note:
            return self.note
        parts = [*self.runs, *(_FALLBACK + reason for reason in self.fallbacks)]
        return "; ".join(parts) or "not called yet"

    @property
    def calls(self) -> int:
        return sum(self.runs.values()) + sum(self.fallbacks.values())


@dataclass
class Report:
    """What ``longspan.hf.report`` returns; ``print`` and Jupyter show it as a table.

    Attributes:
      model: the class of the model.
      implementation: its attn_implementation.
      layers: its attention layers, in the order of ``named_modules``.
    """

    model: str
    implementation: str | None
    layers: list[LayerReport]

    @property
    def reached(self) -> bool:
        """Whether any layer is computed by longspan, or can be."""
        return any(layer.reached for layer in self.layers)

    @property
    def runs(self) -> dict[str, int]:
        """What ran on longspan, with the number of calls since the last report."""
        return dict(sum((Counter(layer.runs) for layer in self.layers), Counter()))

    @property
    def fallbacks(self) -> dict[str, int]:
        """The reasons why torch computed calls, with their numbers since the last report."""
        return dict(sum((Counter(layer.fallbacks) for layer in self.layers), Counter()))

    @property
    def calls(self) -> int:
        """Calls of attention layers since the last report."""
        return sum(layer.calls for layer in self.layers)

    def rows(self) -> list[tuple[int, str, str, int]]:
        """(layers, their class, what they run, calls): layers that do the same are one row."""
        rows: dict[tuple[str, str], list[int]] = {}
        for layer in self.layers:
            row = rows.setdefault((layer.kind, layer.what), [0, 0])
            row[0] += 1
            row[1] += layer.calls
        return [(layers, kind, what, calls) for (kind, what), (layers, calls) in rows.items()]

    def notes(self) -> list[str]:
        """Lines below the table: what to do where longspan does not run."""
        notes = [f"{count} calls by torch: {reason}" for reason, count in self.fallbacks.items()]
        unreached = [layer for layer in self.layers if not layer.reached]
        if any(layer.kind in _SERVED for layer in unreached):
            notes.append("not reached: use longspan.hf.accelerate(model)")
        elif unreached:
            notes.append("not reached: the model computes attention by code of its own, as "
                         "Longformer, LED and Reformer do; those three are served by "
                         "longspan.hf.accelerate(model)")
        elif not self.layers:
            notes.append("no attention layer was found")
        hooked = any(layer.reached and not layer.accelerated for layer in self.layers)
        if hooked and self.implementation != "longspan":
            notes.append(f"attn_implementation is {self.implementation!r}: call "
                         'longspan.hf.register() and model.set_attn_implementation("longspan")')
        return notes

    def __str__(self) -> str:
        head = ("layers", "class", "runs", "calls")
        table = [head, *(tuple(map(str, row)) for row in self.rows())]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [f"{self.model}, attn_implementation {self.implementation!r}"]
        for layers, kind, what, calls in table:
            lines.append(f"{layers:>{widths[0]}}  {kind:{widths[1]}}  {what:{widths[2]}}  "
                         f"{calls:>{widths[3]}}")
        return "\n".join(lines + self.notes())

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Any) -> str:
            inner = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
            return f"<tr>{inner}</tr>"

        body = "".join(line("td", row) for row in self.rows())
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes())
        title = html.escape(f"{self.model}, attn_implementation {self.implementation!r}")
        return (f"<table><caption>{title}</caption>"
                f"<thead>{line('th', ('layers', 'class', 'runs', 'calls'))}</thead>"
                f"<tbody>{body}</tbody></table>{notes}")


def report(model: torch.nn.Module) -> Report:
    """Which attention layers of a model run on longspan, how often, and why others do not.

    Counts begin anew with each report. Calls of code that torch.compile has compiled are not
    counted.

    Returns a Report: print it, or read ``layers``, ``runs``, ``fallbacks``, ``reached``.
    """
    layers = []
    for name, module in model.named_modules():
        layer = _layer(name, module)
        if layer is not None:
            layers.append(layer)
    config = getattr(model, "config", None)
    return Report(type(model).__name__, getattr(config, "_attn_implementation", None), layers)


def _layer(name: str, module: torch.nn.Module) -> LayerReport | None:
    kind = type(module)
    named = kind.__name__.endswith("Attention")
    accelerated = named and kind.__module__.startswith("longspan.hf")
    counts = records.counts_of(module)
    restored = kind.__name__ in _SERVED and not accelerated
    if accelerated or _asks(kind) or counts and not restored:
        records.forget(module)
        return LayerReport(
            name, kind.__name__,
            {what: calls for what, calls in counts.items() if not what.startswith(_FALLBACK)},
            {what.removeprefix(_FALLBACK): calls for what, calls in counts.items()
             if what.startswith(_FALLBACK)}, accelerated=accelerated)
    if named and not _has_attention_inside(module):
        return LayerReport(name, kind.__name__, reached=False, note="not reached")
    return None


def _asks(kind: type) -> bool:
    """Whether the forward function of a class asks for an attention function by name."""
    forward = inspect.unwrap(getattr(kind, "forward", None) or (lambda: None))
    code = getattr(forward, "__code__", None)
    return code is not None and _HOOK in code.co_names


def _has_attention_inside(module: torch.nn.Module) -> bool:
    """Whether it wraps what computes: LongformerAttention has a LongformerSelfAttention."""
    parts = (part for part in module.modules() if part is not module)
    return any("Attention" in type(part).__name__ for part in parts)
