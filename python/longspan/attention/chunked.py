"""Chunked local attention: that of Reformer's local layers."""

from __future__ import annotations

from typing import Any

from longspan import _core
from longspan._arguments import flag, integer, is_torch, key, number
from longspan._runtime import wanted_threads
from longspan.attention._arrays import (Array, Pullback, no_out, no_torch, output,
                                       output_gradient, ready, row_numbers, token_bytes, zeros)


def chunked_attention(q: Any, k: Any, v: Any, *, chunk: int = 64, before: int = 1, after: int = 0,
                      causal: bool = False, scale: float | None = None, key_mask: Any = None,
                      dropout: float = 0.0, dropout_key: int = 0, return_lse: bool = False,
                      out: Any = None) -> Any:
    """Chunked local attention: that of Reformer's local layers.

    Tokens are cut into chunks; a query sees the keys of its own chunk, of ``before`` chunks before
    it and of ``after`` chunks after it. The first chunk's predecessor is the last: chunks wrap
    around. T <= chunk is attention over all keys.

    Args:
      q, k, v: (B, H, T, D), float32 or bfloat16, any T.
      chunk: tokens of a chunk, at least 1.
      before, after: chunks around its own that a query sees, at least 0.
      causal: a query sees no key after its own position.
      scale: of the scores; None: 1 / sqrt(D).
      key_mask: (B, T) of bools or 0 and 1: False hides a key. A query that sees no key of its window
        weighs all of them equally, as the original does.
      dropout, dropout_key, return_lse, out: as in ``full_attention``.

    Returns:
      out (B, H, T, D), of q's type; with return_lse a tuple (out, lse).

    Time and memory grow with T chunk (1 + before + after). Raises DTypeError and UsageError.

    Source: Kitaev, Kaiser, Levskaya 2020, "Reformer: The Efficient Transformer", section 2.
    """
    if is_torch(q, k, v):
        from longspan import torch as other
        no_out("chunked_attention", out)
        return other.chunked_attention(q, k, v, chunk=chunk, before=before, after=after,
                                       causal=causal, scale=scale, key_mask=key_mask,
                                       dropout=dropout, dropout_key=dropout_key or None,
                                       return_lse=return_lse)
    call = _Chunked(q, k, v, chunk, before, after, causal, scale, key_mask, dropout, dropout_key,
                    out)
    return (call.out, call.lse) if return_lse else call.out


def chunked_attention_vjp(q: Any, k: Any, v: Any, *, chunk: int = 64, before: int = 1,
                          after: int = 0, causal: bool = False, scale: float | None = None,
                          key_mask: Any = None, dropout: float = 0.0,
                          dropout_key: int = 0) -> tuple[Array, Pullback]:
    """``chunked_attention`` and its gradient: ``(out, pullback)``; pullback gives (dq, dk, dv)."""
    no_torch("chunked_attention_vjp", q, k, v)
    call = _Chunked(q, k, v, chunk, before, after, causal, scale, key_mask, dropout, dropout_key,
                    None)
    return call.out, call.pull


class _Chunked:
    """One call of chunked attention: what its backward needs."""

    def __init__(self, q: Any, k: Any, v: Any, chunk: Any, before: Any, after: Any, causal: Any,
                 scale: Any, key_mask: Any, dropout: Any, dropout_key: Any, out: Any) -> None:
        name = "chunked_attention"
        self.q, self.k, self.v = (ready(name, "q", q), ready(name, "k", k), ready(name, "v", v))
        self.mask = token_bytes(name, "key_mask", key_mask, 1)
        self.settings = (integer(name, "chunk", chunk, 1), integer(name, "before", before),
                         integer(name, "after", after), flag(name, "causal", causal),
                         0.0 if scale is None else number(name, "scale", scale),
                         number(name, "dropout", dropout), key(name, dropout_key))
        self.out, self.lse = output(name, out, self.q, self.k, self.v), row_numbers(self.q)
        _core.chunked_forward(self.q, self.k, self.v, self.mask, self.out, self.lse, *self.settings,
                              wanted_threads())

    def pull(self, dout: Any) -> tuple[Array, ...]:
        dout = output_gradient("chunked_attention_vjp", dout, self.q)
        dq, dk, dv = zeros(self.q), zeros(self.k), zeros(self.v)
        _core.chunked_backward(self.q, self.k, self.v, self.mask, self.out, self.lse, dout, dq, dk,
                               dv, *self.settings, wanted_threads())
        return dq, dk, dv
