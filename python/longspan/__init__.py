"""longspan: attention for long inputs on ordinary CPUs, forward and backward.

    full_attention, window_attention, chunked_attention, lsh_attention, axial_positions
                        functions of NumPy arrays; ..._vjp give the gradients
    longspan.torch      the same for tensors of torch, with autograd
    longspan.hf         Hugging Face models on these kernels: register(), accelerate(model)
    load(folder)        a model of longspan or Hugging Face: encode, classify, generate, ...
    train(...)          any of the program's trainings; evaluate(...) measures what came of it
    quantize_embeddings vectors with fewer bits
    pipeline(task, folder)
    set_threads, get_threads, show_config

``python -m longspan`` is the program.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from longspan._core import GLOBAL, HIDDEN, LOCAL
from longspan._core import VERSION as __version__
from longspan._errors import (CancelledError, DTypeError, Error, FormatError, IoError, LimitError,
                              LockedError, NumericError, PeerError, UsageError)
from longspan._runtime import get_threads, set_threads, show_config
from longspan.attention import (axial_positions, axial_positions_vjp, chunked_attention,
                                chunked_attention_vjp, full_attention, full_attention_vjp,
                                lsh_attention, lsh_attention_vjp, window_attention,
                                window_attention_vjp)

if TYPE_CHECKING:
    from longspan._embedding import quantize_embeddings
    from longspan.models import Model, load
    from longspan.pipelines import pipeline
    from longspan.training import convert, describe, evaluate, init_model, train

# Names that are looked up when they are first used: they load what the attention functions do not
# need.
_LATER = {
    "Model": "longspan.models", "load": "longspan.models", "pipeline": "longspan.pipelines",
    "train": "longspan.training", "evaluate": "longspan.training",
    "init_model": "longspan.training", "convert": "longspan.training",
    "describe": "longspan.training", "quantize_embeddings": "longspan._embedding",
}

__all__ = [
    "axial_positions", "axial_positions_vjp", "chunked_attention", "chunked_attention_vjp",
    "full_attention", "full_attention_vjp", "lsh_attention", "lsh_attention_vjp",
    "window_attention", "window_attention_vjp",
    "Model", "load", "pipeline", "train", "evaluate", "init_model", "convert", "describe",
    "quantize_embeddings", "get_threads", "set_threads", "show_config",
    "HIDDEN", "LOCAL", "GLOBAL",
    "Error", "UsageError", "DTypeError", "FormatError", "IoError", "LimitError", "NumericError",
    "LockedError", "PeerError", "CancelledError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        value = getattr(importlib.import_module(_LATER[name]), name)
        globals()[name] = value
        return value
    if name in ("torch", "hf"):
        return importlib.import_module(f"longspan.{name}")
    raise AttributeError(f"module 'longspan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__) | {"torch", "hf"})
