"""Models of Hugging Face transformers on the kernels of longspan.

    register()          makes attn_implementation="longspan" known to transformers: ModernBERT,
                        Mistral, Gemma 3, gpt-oss and every other model that lets one choose
    accelerate(model)   replaces the attention of models that do not: Longformer, LED, Reformer
    restore(model)      undoes accelerate
    report(model)       which layers run on longspan, and why others do not

It needs torch and transformers: ``pip install longspan[hf]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longspan.hf.accelerated import accelerate, restore
    from longspan.hf.registered import register
    from longspan.hf.reports import report

# They load torch and transformers, so they are looked up when they are first used.
_LATER = {
    "register": "longspan.hf.registered",
    "report": "longspan.hf.reports",
    "accelerate": "longspan.hf.accelerated",
    "restore": "longspan.hf.accelerated",
}

__all__ = ["accelerate", "register", "report", "restore"]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'longspan.hf' has no attribute {name!r}")
    try:
        module = importlib.import_module(_LATER[name])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("torch", "transformers"):
            raise
        raise ImportError(f"longspan.hf.{name} needs torch and a recent transformers: pip install "
                          f"'longspan[hf]' ({error})", name=error.name) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
