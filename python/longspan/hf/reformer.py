"""Reformer's LSH and local attention on longspan's kernels.

The classes here have the names of those of transformers that they derive from.

Source: Kitaev, Kaiser, Levskaya 2020, "Reformer: The Efficient Transformer", section 2.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longspan.hf import records
from longspan.hf._modules import dropout_key, heads_of, joined
from longspan.torch import chunked_attention, lsh_attention

_reformer: Any = importlib.import_module("transformers.models.reformer.modeling_reformer")

_MOST_BUCKETS = 2**16 - 2  # that the kernels can number, one more for hidden tokens
_DECODING = "steps with a cache"


def _is_decoding(module: Any, past: Any) -> bool:
    """Whether the cache holds earlier tokens of this layer."""
    return past is not None and len(past) > module.layer_idx


def _visible(attention_mask: Tensor | None) -> Tensor | None:
    """The mask (B, T) as bools; None where nothing is hidden."""
    if attention_mask is None:
        return None
    mask = attention_mask.to(torch.bool)
    return None if bool(mask.all()) else mask


def _weights(forward: Callable[..., Any], hidden_states: Tensor, attention_mask: Tensor | None,
             **arguments: Any) -> Any:
    """Attention weights, by transformers' own code. It computes nothing else that is used: a
    backward pass does not ask for weights, and must compute what the forward pass did."""
    with torch.random.fork_rng(devices=[]):
        return forward(hidden_states, attention_mask=attention_mask, output_attentions=True,
                       **arguments).attention_probs


class LSHSelfAttention(_reformer.LSHSelfAttention):  # type: ignore[misc]
    """Attention of tokens that hashing finds to be similar."""

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None,
                num_hashes: int | None = None, buckets: Tensor | None = None,
                past_buckets_states: Any = None, use_cache: bool = False,
                output_attentions: bool = False, **kwargs: Any) -> Any:
        """What transformers' forward returns: hidden states (B, T, H D), and buckets (B, H, R, T),
        int64, where those of round r begin at r times the number of buckets."""
        tokens = hidden_states.shape[1]
        hashes = tokens > self.chunk_length
        if hashes and self.num_buckets is None and not _is_decoding(self, past_buckets_states):
            self._set_num_buckets(tokens)
        reason = None
        if _is_decoding(self, past_buckets_states):
            reason = _DECODING
        elif hashes and math.prod(self._factors()) > _MOST_BUCKETS:
            reason = f"more than {_MOST_BUCKETS} buckets"
        if reason is not None:
            records.note(self, f"fallback: {reason}")
            return super().forward(hidden_states, attention_mask=attention_mask,
                                   num_hashes=num_hashes, buckets=buckets,
                                   past_buckets_states=past_buckets_states, use_cache=use_cache,
                                   output_attentions=output_attentions, **kwargs)
        heads, size = self.num_attention_heads, self.attention_head_size
        qk = heads_of(self, self.query_key(hidden_states), heads, size)
        v = heads_of(self, self.value(hidden_states), heads, size)
        mask = _visible(attention_mask)
        settings = self._settings(mask)  # first: what hashing draws may seed the generator
        if not hashes:
            records.note(self, "full, shared keys")
            out = lsh_attention(qk, v, rounds=1, num_buckets=2, **settings)
        else:
            records.note(self, f"LSH, chunks of {self.chunk_length}")
            rounds = num_hashes if num_hashes is not None else self.num_hashes
            out, buckets = self._hashed(qk, v, rounds, buckets, settings)
        weights = ()
        if output_attentions:
            weights = _weights(super().forward, hidden_states, attention_mask, buckets=buckets,
                               num_hashes=num_hashes)
        return _reformer.LSHSelfAttentionOutput(hidden_states=joined(out), attention_probs=weights,
                                                buckets=buckets)

    def _settings(self, mask: Tensor | None) -> dict[str, Any]:
        dropout = self.dropout if self.training else 0.0
        return {"chunk": self.chunk_length, "before": self.num_chunks_before,
                "after": self.num_chunks_after, "causal": self.is_decoder, "key_mask": mask,
                "dropout": dropout, "dropout_key": dropout_key() if dropout > 0.0 else None}

    def _hashed(self, qk: Tensor, v: Tensor, rounds: int, buckets: Tensor | None,
                settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """out (B, H, T, D), and buckets (B, H, R, T) as transformers numbers them."""
        shape = (*qk.shape[:2], -1, qk.shape[2])
        factors = self._factors()
        # Hidden tokens have a bucket of their own.
        step = math.prod(factors) + (0 if settings["key_mask"] is None else 1)
        if buckets is not None:
            buckets = buckets.reshape(shape)
            rounds = buckets.shape[2]  # a backward pass does not name them
            # It draws as many random numbers as the forward pass did, so that dropout that follows
            # is that of the forward pass.
            if self.training:
                self._rotations(qk, rounds)
            out = lsh_attention(qk, v, rounds=rounds, num_buckets=factors, **settings,
                                buckets=(buckets % step).to(torch.uint16))
            return out, buckets
        out, numbers = lsh_attention(qk, v, rounds=rounds, num_buckets=factors, **settings,
                                     rotations=self._rotations(qk, rounds), return_buckets=True)
        first = torch.arange(0, rounds * step, step)[:, None]
        return out, numbers.to(torch.int64) + first

    def _rotations(self, qk: Tensor, rounds: int) -> Tensor:
        """Random numbers (H, D, R, columns): the same, and drawn in the same way, as
        transformers'."""
        if self.hash_seed is not None:
            torch.manual_seed(self.hash_seed)
        shape = (qk.shape[1], qk.shape[3], rounds, sum(self._factors()) // 2)
        return torch.randn(shape, dtype=qk.dtype).float()

    def _factors(self) -> list[int]:
        count: Any = self.num_buckets
        return [count] if isinstance(count, int) else list(count)

    def extra_repr(self) -> str:
        return "kernels=longspan"


class LocalSelfAttention(_reformer.LocalSelfAttention):  # type: ignore[misc]
    """Attention of chunks of neighbouring tokens."""

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None,
                past_buckets_states: Any = None, use_cache: bool = False,
                output_attentions: bool = False, **kwargs: Any) -> Any:
        """What transformers' forward returns: hidden states (B, T, H D)."""
        if _is_decoding(self, past_buckets_states):
            records.note(self, f"fallback: {_DECODING}")
            return super().forward(hidden_states, attention_mask=attention_mask,
                                   past_buckets_states=past_buckets_states, use_cache=use_cache,
                                   output_attentions=output_attentions, **kwargs)
        heads, size = self.num_attention_heads, self.attention_head_size
        q = heads_of(self, self.query(hidden_states), heads, size)
        k = heads_of(self, self.key(hidden_states), heads, size)
        v = heads_of(self, self.value(hidden_states), heads, size)
        records.note(self, f"chunks of {self.chunk_length}")
        out = chunked_attention(q, k, v, chunk=self.chunk_length, before=self.num_chunks_before,
                                after=self.num_chunks_after, causal=self.is_decoder,
                                key_mask=_visible(attention_mask),
                                dropout=self.dropout if self.training else 0.0)
        weights = ()
        if output_attentions:
            weights = _weights(super().forward, hidden_states, attention_mask)
        return _reformer.LocalSelfAttentionOutput(hidden_states=joined(out),
                                                  attention_probs=weights)

    def extra_repr(self) -> str:
        return "kernels=longspan"
