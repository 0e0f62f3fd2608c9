"""``attn_implementation="longspan"``: the attention function that transformers calls in each layer.

A layer whose mask is a window runs ``window_attention``, one that sees everything
``full_attention``. All else is computed by torch, with one warning for each reason, or refused.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from typing import Any

import torch
from torch import Tensor

from longspan._errors import Error, UsageError
from longspan.hf import records
from longspan.hf.masks import (ALL, DECODING, WindowMask, has_own_attention, make_mask,
                                 masking)
from longspan.torch import full_attention, window_attention

NAME = "longspan"

_sdpa: Any = importlib.import_module("transformers.integrations.sdpa_attention")


def register() -> None:
    """Makes ``attn_implementation="longspan"`` known to transformers, for all models.

        longspan.hf.register()
        model = AutoModel.from_pretrained(folder, attn_implementation="longspan")

    ``model.set_attn_implementation("longspan")`` works too. Attention with a sliding window (half
    of the layers and more in ModernBERT, Gemma 3, gpt-oss) then takes time and memory in
    proportion to the length, and full attention runs on longspan's kernel; forward and backward,
    float32 and bfloat16, on the CPU. Weights, outputs and training scripts stay as they are.
    ``longspan.hf.report(model)`` tells which layers are reached.

    Attention weights are not returned (output_attentions), and layers with a softcap (Gemma 2) are
    refused with a ValueError. Calling it again changes nothing. Raises longspan.Error where
    transformers is too old.
    """
    transformers: Any = importlib.import_module("transformers")
    if "q_length" not in inspect.signature(masking.sdpa_mask).parameters:
        raise Error(f"transformers {transformers.__version__} is too old for longspan.hf.register: "
                    "install 5.24 or newer")
    transformers.AttentionInterface.register(NAME, attention)
    # torch.compile cannot look through it: it reads closures. The layers are in the graph.
    compiler: Any = torch.compiler
    transformers.AttentionMaskInterface.register(NAME, compiler.disable(mask))


def mask(**arguments: Any) -> Any:
    """The mask function: see ``longspan.hf.masks.make_mask``."""
    config = arguments.get("config")
    if has_own_attention(config):
        name = type(config).__name__.removesuffix("Config")
        warn_once(f"own attention of {name}",
                  f"{name} computes attention by code of its own, which "
                  'attn_implementation="longspan" does not reach; use '
                  "longspan.hf.accelerate(model), which serves Longformer, LED and Reformer")
    return make_mask(**arguments)


_warned: set[str] = set()


def warn_once(reason: str, text: str) -> None:
    """One warning for each reason in a process."""
    if reason not in _warned and not torch.compiler.is_compiling():
        _warned.add(reason)
        warnings.warn(text, UserWarning, stacklevel=3)


# ---- the attention function ---------------------------------------------------------------------


def attention(module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor,
              attention_mask: Any, dropout: float = 0.0, scaling: float | None = None,
              is_causal: bool | None = None, sliding_window: int | None = None,
              s_aux: Tensor | None = None, position_bias: Tensor | None = None,
              **kwargs: Any) -> tuple[Tensor, None]:
    """Attention of one layer. query (B, H, T, D), key and value (B, H / G, T, D); out (B, T, H, D).

    ``attention_mask`` is what ``mask`` returned, None, or a tensor of the model's own.
    """
    _refuse(module, query, s_aux, kwargs)
    query, key, value = _cast(query, key, value)
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    reason = _reason(query, key, value, attention_mask, position_bias)
    if reason is not None:
        _note_fallback(module, reason)
        if isinstance(attention_mask, WindowMask):
            attention_mask = _ordinary(module, attention_mask, key, s_aux)
        if s_aux is not None:
            out = _with_sinks(query, key, value, attention_mask, dropout, scaling, s_aux, causal)
            return out, None
        out, _ = _sdpa.sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
            is_causal=is_causal, position_bias=position_bias, **kwargs)
        return out, None
    if isinstance(attention_mask, WindowMask):
        left, right = attention_mask.left, attention_mask.right
        key_mask, documents = attention_mask.key_mask, attention_mask.documents
        if key.shape[2] > query.shape[2]:  # a static cache
            key, value = key[:, :, :query.shape[2]], value[:, :, :query.shape[2]]
            key_mask = None if key_mask is None else key_mask[:, :query.shape[2]]
    else:
        left = ALL if sliding_window is None else sliding_window - 1
        right, key_mask, documents = 0 if causal else left, None, None
    settings = {"scale": scaling, "dropout": float(dropout),
                "sinks": None if s_aux is None else s_aux.reshape(-1)}
    if documents is None:
        kind, out = _run(query, key, value, left, right, key_mask, settings)
    else:
        kind, out = _run_packed(query, key, value, left, right, documents, settings)
    if s_aux is not None:
        kind += ", sinks"
    records.note(module, kind)
    return out.transpose(1, 2), None


def _run(query: Tensor, key: Tensor, value: Tensor, left: int, right: int, key_mask: Tensor | None,
         settings: dict[str, Any]) -> tuple[str, Tensor]:
    """What ran, in words, and out (B, H, T, D)."""
    tokens = query.shape[2]
    name = _name(left, right)
    if left >= tokens - 1 and (right == 0 or right >= tokens - 1):
        return name, full_attention(query, key, value, causal=right == 0 and tokens > 1,
                                    key_mask=key_mask, **settings)
    # No more than the row: sizes of windows are numbers of the kernel.
    return name, window_attention(query, key, value, left=min(left, tokens),
                                  right=min(right, tokens), causal=right == 0, key_mask=key_mask,
                                  **settings)


def _run_packed(query: Tensor, key: Tensor, value: Tensor, left: int, right: int,
                documents: list[list[int]], settings: dict[str, Any]) -> tuple[str, Tensor]:
    """One call for each document. Splits and joins have cheap gradients, slices have not."""
    rows = []
    for lengths, *row in zip(documents, *(torch.split(part, 1) for part in (query, key, value))):
        cut = [torch.split(part, lengths, dim=2) for part in row]
        parts = [_run(q, k, v, left, right, None, settings)[1] for q, k, v in zip(*cut)]
        # Joined as (B, T, H, D), the layout in which out is wanted.
        rows.append(torch.cat([part.transpose(1, 2) for part in parts], dim=1))
    return f"{_name(left, right)}, packed rows", torch.cat(rows).transpose(1, 2)


def _name(left: int, right: int) -> str:
    if left >= ALL:
        return {0: "full, causal", ALL: "full"}.get(right, f"window -all +{right}")
    if right == 0:
        return f"window -{left}, causal"
    if left == right:
        return f"window ±{left}"
    return f"window -{left} +{'all' if right >= ALL else right}"


def _cast(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under autocast what autocast does to torch's own attention: rotations leave float32."""
    if torch.is_autocast_enabled("cpu") and query.is_cpu and query.dtype != torch.float64:
        kind = torch.get_autocast_dtype("cpu")
        return query.to(kind), key.to(kind), value.to(kind)
    return query, key, value


# ---- what is not computed here ------------------------------------------------------------------


def _refuse(module: torch.nn.Module, query: Tensor, s_aux: Tensor | None,
            kwargs: dict[str, Any]) -> None:
    """Raises UsageError, a ValueError, for what torch's attention would leave out in silence."""
    for name in ("softcap", "sinks"):
        if kwargs.get(name) is not None:
            raise UsageError(f'attn_implementation="longspan": {type(module).__name__} passes '
                             f"{name}, which is not computed; load the model with "
                             'attn_implementation="eager"')
    if s_aux is not None and s_aux.numel() != query.shape[1]:
        raise UsageError(f'attn_implementation="longspan": {type(module).__name__} passes '
                         f"{s_aux.numel()} sinks for {query.shape[1]} heads; load the model with "
                         'attn_implementation="eager"')
    if kwargs.get("output_attentions"):
        warn_once("output_attentions", 'attn_implementation="longspan" returns no attention '
                  'weights: output_attentions needs attn_implementation="eager"')


def _reason(query: Tensor, key: Tensor, value: Tensor, mask: Any,
            position_bias: Tensor | None) -> str | None:
    """Why the kernels cannot compute this call; None: they can."""
    if position_bias is not None:
        return "position_bias: numbers that are added to the scores"
    if not query.is_cpu:
        return f"tensors on the device '{query.device.type}'"
    if query.dtype not in (torch.float32, torch.bfloat16) or key.dtype != query.dtype \
            or value.dtype != query.dtype:
        return f"elements of type {query.dtype}"
    if key.shape != value.shape or query.shape[-1] != key.shape[-1]:
        return "values of another head size than keys"
    if query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1] or not query.numel():
        return "queries and keys whose batch or heads differ"
    if isinstance(mask, WindowMask):
        return _reason_of_mask(query, key, mask)
    if mask is not None:
        return "a mask tensor of the model's own"
    return None if query.shape[2] == key.shape[2] else DECODING


def _reason_of_mask(query: Tensor, key: Tensor, mask: WindowMask) -> str | None:
    if mask.reason is not None:
        return mask.reason
    if (query.shape[2], key.shape[2]) != (mask.queries, mask.keys):
        return DECODING
    rows = [len(part) for part in (mask.key_mask, mask.documents) if part is not None]
    if any(count != query.shape[0] for count in rows):
        return "a mask for another batch"
    return None


def _note_fallback(module: torch.nn.Module, reason: str) -> None:
    records.note(module, f"fallback: {reason}")
    warn_once(reason, f'attn_implementation="longspan": {type(module).__name__} runs on torch '
              f"instead ({reason}); longspan.hf.report(model) counts such calls")


def _ordinary(module: torch.nn.Module, mask: WindowMask, key: Tensor,
              s_aux: Tensor | None) -> Tensor | None:
    """The tensor for torch. Refuses keys that it says nothing of: DeepSeek V4 adds some."""
    tensor = mask.boolean() if s_aux is None else mask.additive()
    if tensor is not None and tensor.shape[-1] != key.shape[2]:
        raise UsageError(f'attn_implementation="longspan": {type(module).__name__} has '
                         f"{key.shape[2]} keys and a mask for {tensor.shape[-1]}; load the model "
                         'with attn_implementation="eager"')
    return tensor


def _with_sinks(query: Tensor, key: Tensor, value: Tensor, mask: Any, dropout: float,
                scaling: float | None, sinks: Tensor, causal: bool) -> Tensor:
    """Attention with sinks in torch, which has none of its own; out (B, T, H, D)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query @ key.transpose(2, 3)).float() * scale
    if mask is None and causal and query.shape[2] > 1:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        lowest = torch.finfo(scores.dtype).min
        scores = (scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool
                  else (scores + mask).clamp(min=lowest))
    sink = sinks.float().view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
    weights = torch.softmax(torch.cat([scores, sink], dim=-1), dim=-1)[..., :-1]
    weights = torch.nn.functional.dropout(weights, p=dropout, training=dropout > 0)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous()
