"""Sliding-window attention and global tokens: Longformer's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longspan import _core
from longspan._arguments import dilations, flag, integer, is_torch, key, number
from longspan._errors import DTypeError, UsageError
from longspan._runtime import wanted_threads
from longspan.attention._arrays import (Array, Pullback, merge_roles, no_out, no_torch, output,
                                       output_gradient, ready, row_numbers, sink_numbers,
                                       token_bytes, zeros)


def window_attention(q: Any, k: Any, v: Any, *, left: int = 256, right: int = 256,
                     causal: bool = False, dilation: int | Sequence[int] = 1,
                     roles: Any = None, global_qkv: tuple[Any, Any, Any] | None = None,
                     scale: float | None = None, key_mask: Any = None, sinks: Any = None,
                     dropout: float = 0.0, dropout_key: int = 0, return_lse: bool = False,
                     out: Any = None) -> Any:
    """Sliding-window attention, with global tokens: Longformer's.

    Query i sees the keys i - left to i + right (with a dilation d: every d-th of them, left and
    right counting steps), itself always among them, and every global key. A global token sees all
    keys. Hidden tokens are not seen, and get 0.

    Args:
      q: (B, H, T, D), float32 or bfloat16.
      k, v: (B, H / G, T, D), as q. Key head h serves query heads h G to h G + G - 1.
      left, right: keys before and after its own position that a query sees, at least 0. A model
        whose config says a window of w tokens has w // 2 on each side.
      causal: no query sees a key after its own position: right counts as 0.
      dilation: steps between the keys of a window, at least 1; one number, or one for each head.
      roles: (B, T) of integers: longspan.HIDDEN 0, longspan.LOCAL 1, longspan.GLOBAL 2. None: all
        are local.
      global_qkv: the projections that belong to global tokens, as Longformer has them: (queries
        (B, H, N, D), where row n is that of the n-th global token of its batch row and N the most
        that a row has; keys (B, H, T, D); values (B, H, T, D)). None: global tokens use q, k, v.
      scale: of the scores; None: 1 / sqrt(D).
      key_mask: (B, T) of bools or 0 and 1: False makes a token hidden.
      sinks: (H,) float32: a learned score of one more key with the value 0 for each head, as in
        gpt-oss. Not with global tokens.
      dropout: the probability with which a weight becomes 0, from 0 to below 1.
      dropout_key: of the random numbers of dropout; the same key gives the same zeros.
      return_lse: return also lse, (B, H, T) float32: the logarithm of the sum of exp(score).
      out: (B, H, T, D) of q's type, to write the result to.

    Returns:
      out (B, H, T, D), of q's type; with return_lse a tuple (out, lse).

    Time and memory grow with T (left + right), global tokens add T each. Raises DTypeError (a
    TypeError) and UsageError (a ValueError).

    Source: Beltagy, Peters, Cohan 2020, "Longformer: The Long-Document Transformer", section 3.
    """
    if is_torch(q, k, v):
        from longspan import torch as other
        no_out("window_attention", out)
        return other.window_attention(
            q, k, v, left=left, right=right, causal=causal, dilation=dilation, roles=roles,
            global_qkv=global_qkv, scale=scale, key_mask=key_mask, sinks=sinks, dropout=dropout,
            dropout_key=dropout_key or None, return_lse=return_lse)
    call = _Window(q, k, v, left, right, causal, dilation, roles, global_qkv, scale, key_mask, sinks,
                   dropout, dropout_key, out)
    return (call.out, call.lse) if return_lse else call.out


def window_attention_vjp(q: Any, k: Any, v: Any, *, left: int = 256, right: int = 256,
                         causal: bool = False, dilation: int | Sequence[int] = 1,
                         roles: Any = None, global_qkv: tuple[Any, Any, Any] | None = None,
                         scale: float | None = None, key_mask: Any = None, sinks: Any = None,
                         dropout: float = 0.0, dropout_key: int = 0) -> tuple[Array, Pullback]:
    """``window_attention`` and its gradient: ``(out, pullback)``.

    ``pullback(dout)`` returns (dq, dk, dv), then dsinks if there are sinks, then the three gradients
    of global_qkv if that was given: float32, in the shapes of the arguments. The arrays must not
    change in between.
    """
    no_torch("window_attention_vjp", q, k, v)
    call = _Window(q, k, v, left, right, causal, dilation, roles, global_qkv, scale, key_mask, sinks,
                   dropout, dropout_key, None)
    return call.out, call.pull


class _Window:
    """One call of window attention: what its backward needs."""

    globals: tuple[Array, Array, Array] | None = None
    own = True  # global tokens use q, k, v
    places: tuple[Array, Array] | None = None

    def __init__(self, q: Any, k: Any, v: Any, left: Any, right: Any, causal: Any, dilation: Any,
                 roles: Any, global_qkv: Any, scale: Any, key_mask: Any, sinks: Any, dropout: Any,
                 dropout_key: Any, out: Any) -> None:
        name = "window_attention"
        self.q, self.k, self.v = (ready(name, "q", q), ready(name, "k", k), ready(name, "v", v))
        mask = token_bytes(name, "key_mask", key_mask, 1)
        self.roles = merge_roles(name, token_bytes(name, "roles", roles, 2), mask)
        self.sinks = sink_numbers(name, sinks)
        heads = self.q.shape[1] if self.q.ndim == 4 else 1
        self.left, self.right = integer(name, "left", left), integer(name, "right", right)
        self.causal = flag(name, "causal", causal)
        self.dilation = dilations(name, dilation, heads)
        self.rest = (0.0 if scale is None else number(name, "scale", scale),
                     number(name, "dropout", dropout), key(name, dropout_key))
        self.out, self.lse = output(name, out, self.q, self.k, self.v), row_numbers(self.q)
        if roles is not None or global_qkv is not None:
            self._find_globals(name, global_qkv)
        _core.window_forward(self.q, self.k, self.v, self.roles, self.sinks, self.out, self.lse,
                             self.left, self.right, self.causal, self.dilation, *self.rest,
                             wanted_threads())
        if self.globals is not None:
            _core.global_forward(*self.globals, self.roles, self.out, self.lse, self.left, self.right,
                                 self.causal, *self.rest, wanted_threads())

    def _find_globals(self, name: str, given: Any) -> None:
        roles = self.roles
        found = roles is not None and roles.ndim == 2 and bool((roles == 2).any())
        if not found:
            if given is not None and roles is None:
                raise UsageError(f"{name}: global_qkv is given, but roles name no global token")
            return
        assert roles is not None
        if self.sinks is not None:
            raise UsageError(f"{name}: sinks together with global tokens are not defined; leave one "
                             "of them out")
        if given is not None:
            if not isinstance(given, (tuple, list)) or len(given) != 3:
                raise DTypeError(f"{name}: global_qkv must be three arrays: queries, keys, values")
            self.own = False
            self.globals = (ready(name, "global_q", given[0]), ready(name, "global_k", given[1]),
                            ready(name, "global_v", given[2]))
            return
        if self.q.ndim != 4 or roles.shape != (self.q.shape[0], self.q.shape[2]):
            return  # the kernel says what is wrong
        rows, tokens = np.nonzero(roles == 2)
        first = np.searchsorted(rows, np.arange(roles.shape[0]))
        rank = np.arange(len(rows)) - first[rows]
        self.places = (rows, tokens)
        self.rank = rank
        qg = np.zeros((self.q.shape[0], self.q.shape[1], int(rank.max()) + 1, self.q.shape[3]),
                      self.q.dtype)
        qg[rows, :, rank] = self.q[rows, :, tokens]
        groups = self.q.shape[1] // max(self.k.shape[1], 1) if self.k.ndim == 4 else 1
        if groups > 1:
            self.globals = (qg, np.repeat(self.k, groups, axis=1), np.repeat(self.v, groups, axis=1))
        else:
            self.globals = (qg, self.k, self.v)

    def pull(self, dout: Any) -> tuple[Array, ...]:
        dout = output_gradient("window_attention_vjp", dout, self.q)
        dq, dk, dv = zeros(self.q), zeros(self.k), zeros(self.v)
        dsinks = None if self.sinks is None else zeros(self.sinks)
        _core.window_backward(self.q, self.k, self.v, self.roles, self.sinks, self.out, self.lse,
                              dout, dq, dk, dv, dsinks, self.left, self.right, self.causal,
                              self.dilation, *self.rest, wanted_threads())
        result = (dq, dk, dv) if dsinks is None else (dq, dk, dv, dsinks)
        if self.globals is None:
            return result
        qg, kg, vg = self.globals
        dqg = zeros(qg)
        shared = self.own and kg is self.k  # the kernel adds to dk and dv themselves
        dkg, dvg = (dk, dv) if shared else (zeros(kg), zeros(vg))
        _core.global_backward(qg, kg, vg, self.roles, self.out, self.lse, dout, dqg, dkg, dvg,
                              self.left, self.right, self.causal, *self.rest, wanted_threads())
        if not self.own:
            return (*result, dqg, dkg, dvg)
        assert self.places is not None
        rows, tokens = self.places
        dq[rows, :, tokens] += dqg[rows, :, self.rank]
        if not shared:
            groups = self.q.shape[1] // self.k.shape[1]
            for whole, part in ((dk, dkg), (dv, dvg)):
                b, h, t, d = whole.shape
                whole += part.reshape(b, h, groups, t, d).sum(axis=2)
        return result
