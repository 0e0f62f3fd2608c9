"""Full attention: every query sees every key."""

from __future__ import annotations

from typing import Any

from longspan import _core
from longspan._arguments import flag, is_torch, key, number
from longspan._runtime import wanted_threads
from longspan.attention._arrays import (Array, Pullback, no_out, no_torch, output,
                                       output_gradient, ready, row_numbers, sink_numbers,
                                       token_bytes, zeros)


def full_attention(q: Any, k: Any, v: Any, *, causal: bool = False, scale: float | None = None,
                   key_mask: Any = None, sinks: Any = None, dropout: float = 0.0,
                   dropout_key: int = 0, return_lse: bool = False, out: Any = None) -> Any:
    """Attention in which every query sees every key: softmax(scale * q k^T) v.

    Args:
      q: (B, H, T, D), float32 or bfloat16.
      k, v: (B, H / G, T, D), as q. Key head h serves query heads h G to h G + G - 1.
      causal: a query sees no key after its own position.
      scale: of the scores; None: 1 / sqrt(D).
      key_mask: (B, T) of bools or 0 and 1: False hides a key. A query that sees no key weighs all
        of them equally.
      sinks: (H,) float32: a learned score of one more key with the value 0 for each head, as in
        gpt-oss.
      dropout: the probability with which a weight becomes 0, from 0 to below 1.
      dropout_key: of the random numbers of dropout; the same key gives the same zeros.
      return_lse: return also lse, (B, H, T) float32: the logarithm of the sum of exp(score).
      out: (B, H, T, D) of q's type, to write the result to.

    Returns:
      out (B, H, T, D), of q's type; with return_lse a tuple (out, lse).

    Memory beyond the arguments grows with T, time with T squared. Products of bfloat16 are summed
    in float32. Raises DTypeError (a TypeError) and UsageError (a ValueError).

    Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
    """
    if is_torch(q, k, v):
        from longspan import torch as other
        no_out("full_attention", out)
        return other.full_attention(q, k, v, causal=causal, scale=scale, key_mask=key_mask,
                                    sinks=sinks, dropout=dropout,
                                    dropout_key=dropout_key or None, return_lse=return_lse)
    call = _Full(q, k, v, causal, scale, key_mask, sinks, dropout, dropout_key, out)
    return (call.out, call.lse) if return_lse else call.out


def full_attention_vjp(q: Any, k: Any, v: Any, *, causal: bool = False, scale: float | None = None,
                       key_mask: Any = None, sinks: Any = None, dropout: float = 0.0,
                       dropout_key: int = 0) -> tuple[Array, Pullback]:
    """``full_attention`` and its gradient: ``(out, pullback)``.

    ``pullback(dout)`` returns (dq, dk, dv), or with sinks (dq, dk, dv, dsinks), float32, in the
    shapes of the arguments. The arrays must not change in between.
    """
    no_torch("full_attention_vjp", q, k, v)
    call = _Full(q, k, v, causal, scale, key_mask, sinks, dropout, dropout_key, None)
    return call.out, call.pull


class _Full:
    """One call of full attention: what its backward needs."""

    def __init__(self, q: Any, k: Any, v: Any, causal: Any, scale: Any, key_mask: Any, sinks: Any,
                 dropout: Any, dropout_key: Any, out: Any) -> None:
        name = "full_attention"
        self.q, self.k, self.v = (ready(name, "q", q), ready(name, "k", k), ready(name, "v", v))
        self.mask = token_bytes(name, "key_mask", key_mask, 1)
        self.sinks = sink_numbers(name, sinks)
        self.settings = (flag(name, "causal", causal),
                         0.0 if scale is None else number(name, "scale", scale),
                         number(name, "dropout", dropout), key(name, dropout_key))
        self.out, self.lse = output(name, out, self.q, self.k, self.v), row_numbers(self.q)
        _core.full_forward(self.q, self.k, self.v, self.mask, self.sinks, self.out, self.lse,
                           *self.settings, wanted_threads())

    def pull(self, dout: Any) -> tuple[Array, ...]:
        dout = output_gradient("full_attention_vjp", dout, self.q)
        dq, dk, dv = zeros(self.q), zeros(self.k), zeros(self.v)
        dsinks = None if self.sinks is None else zeros(self.sinks)
        _core.full_backward(self.q, self.k, self.v, self.mask, self.sinks, self.out, self.lse, dout,
                            dq, dk, dv, dsinks, *self.settings, wanted_threads())
        return (dq, dk, dv) if dsinks is None else (dq, dk, dv, dsinks)
