"""LSH attention: that of Reformer's hashing layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longspan import _core
from longspan._arguments import flag, integer, is_torch, key, number
from longspan._errors import UsageError
from longspan._runtime import wanted_threads
from longspan.attention._arrays import (Array, Pullback, no_out, no_torch, output,
                                       output_gradient, ready, row_numbers, token_bytes, zeros)

_MOST_ROUNDS = 1024  # as in models


def lsh_attention(qk: Any, v: Any, *, chunk: int = 64, before: int = 1, after: int = 0,
                  rounds: int = 1, num_buckets: int | Sequence[int] | None = None,
                  causal: bool = False, key_mask: Any = None, seed: int = 0, rotations: Any = None,
                  buckets: Any = None, dropout: float = 0.0, dropout_key: int = 0,
                  return_lse: bool = False, return_buckets: bool = False, out: Any = None) -> Any:
    """LSH attention: that of Reformer's hashing layers.

    One projection serves as queries and, scaled to one length, as keys. In every round tokens are
    hashed to buckets by random rotations, sorted by (bucket, position) and cut into chunks; a query
    sees its own chunk, ``before`` chunks before it and ``after`` after it. The rounds are combined
    by one softmax over all their keys. A token sees itself only where it sees nothing else.
    T <= chunk is attention over all keys, without hashing.

    Args:
      qk: (B, H, T, D), float32 or bfloat16: queries and keys.
      v: (B, H, T, D), as qk.
      chunk: tokens of a chunk, at least 1.
      before, after: chunks around its own that a query sees, at least 0.
      rounds: how often tokens are hashed, at least 1: more rounds find more of the near keys.
      num_buckets: an even number, or even factors whose product it is. None: two for each chunk,
        Hugging Face's rule.
      causal: a query sees no key after its own position.
      key_mask: (B, T) of bools or 0 and 1: False hides a key.
      seed: of the rotations: those of torch.manual_seed(seed); torch.randn(H, D, rounds, columns).
      rotations: (H, D, rounds, columns) float32 instead, columns being half the sum of the factors.
      buckets: (B, H, rounds, T) uint16, what return_buckets gave: nothing is hashed then.
      dropout, dropout_key, out: as in ``full_attention``.
      return_lse: return also lse, (B, H, T) float32.
      return_buckets: return also the buckets, (B, H, rounds, T) uint16; None where nothing was
        hashed.

    Returns:
      out (B, H, T, D), of qk's type; with return_lse or return_buckets a tuple that begins with it.

    Time grows with rounds T chunk (1 + before + after). The gradient does not go through the choice
    of buckets. Raises DTypeError, UsageError, and LimitError for more than 65,536 buckets.

    Source: Kitaev, Kaiser, Levskaya 2020, "Reformer: The Efficient Transformer", section 2.
    """
    if is_torch(qk, v):
        from longspan import torch as other
        no_out("lsh_attention", out)
        return other.lsh_attention(qk, v, chunk=chunk, before=before, after=after, rounds=rounds,
                                   num_buckets=num_buckets, causal=causal, key_mask=key_mask,
                                   seed=seed, rotations=rotations, buckets=buckets, dropout=dropout,
                                   dropout_key=dropout_key or None, return_lse=return_lse,
                                   return_buckets=return_buckets)
    call = _Lsh(qk, v, chunk, before, after, rounds, num_buckets, causal, key_mask, seed, rotations,
                buckets, dropout, dropout_key, out)
    result: tuple[Any, ...] = (call.out,)
    if return_lse:
        result += (call.max + np.log(call.sum),)
    if return_buckets:
        result += (call.buckets,)
    return result if len(result) > 1 else call.out


def lsh_attention_vjp(qk: Any, v: Any, *, chunk: int = 64, before: int = 1, after: int = 0,
                      rounds: int = 1, num_buckets: int | Sequence[int] | None = None,
                      causal: bool = False, key_mask: Any = None, seed: int = 0,
                      rotations: Any = None, buckets: Any = None, dropout: float = 0.0,
                      dropout_key: int = 0) -> tuple[Array, Pullback]:
    """``lsh_attention`` and its gradient: ``(out, pullback)``; pullback gives (dqk, dv)."""
    no_torch("lsh_attention_vjp", qk, v)
    call = _Lsh(qk, v, chunk, before, after, rounds, num_buckets, causal, key_mask, seed, rotations,
                buckets, dropout, dropout_key, None)
    return call.out, call.pull


def lsh_shape(function: str, chunk: Any, before: Any, after: Any,
              rounds: Any) -> tuple[int, int, int, int]:
    """These four, checked."""
    count = integer(function, "rounds", rounds, 1)
    if count > _MOST_ROUNDS:
        raise UsageError(f"{function}: rounds is {count}, at most {_MOST_ROUNDS} are computed")
    return (integer(function, "chunk", chunk, 1), integer(function, "before", before),
            integer(function, "after", after), count)


def bucket_factors(function: str, num_buckets: Any, tokens: int, chunk: int) -> list[int]:
    """The factors of the number of buckets."""
    if num_buckets is None:  # one chunk is not hashed, and has no default
        return [2] if tokens <= chunk else list(_core.lsh_bucket_factors(tokens, chunk, tokens))
    if hasattr(num_buckets, "__len__") and not isinstance(num_buckets, (str, bytes)):
        factors = [integer(function, "num_buckets", factor, 1) for factor in num_buckets]
    else:
        factors = [integer(function, "num_buckets", num_buckets, 1)]
    for factor in factors:
        if factor % 2 or factor > 1 << 16:
            raise UsageError(f"{function}: num_buckets has the factor {factor}; factors are even, at "
                             "most 65536")
    return factors


class _Lsh:
    """One call of LSH attention: what its backward needs."""

    def __init__(self, qk: Any, v: Any, chunk: Any, before: Any, after: Any, rounds: Any,
                 num_buckets: Any, causal: Any, key_mask: Any, seed: Any, rotations: Any,
                 buckets: Any, dropout: Any, dropout_key: Any, out: Any) -> None:
        name = "lsh_attention"
        self.qk, self.v = ready(name, "qk", qk), ready(name, "v", v)
        self.mask = token_bytes(name, "key_mask", key_mask, 1)
        shape = lsh_shape(name, chunk, before, after, rounds)
        tokens = self.qk.shape[2] if self.qk.ndim == 4 else 1
        factors = bucket_factors(name, num_buckets, tokens, shape[0])
        self.settings = (*shape, factors, flag(name, "causal", causal),
                         number(name, "dropout", dropout), key(name, dropout_key))
        self.buckets: Array | None = None
        if tokens > shape[0] and self.qk.ndim == 4:
            self._hash(name, shape, factors, seed, rotations, buckets)
        self.out = output(name, out, self.qk, self.v)
        self.max, self.sum = row_numbers(self.qk), row_numbers(self.qk)
        _core.lsh_forward(self.qk, self.v, self.mask, self.buckets, self.out, self.max, self.sum,
                          *self.settings, wanted_threads())

    def _hash(self, name: str, shape: tuple[int, ...], factors: list[int], seed: Any, rotations: Any,
              buckets: Any) -> None:
        if buckets is not None:
            self.buckets = ready(name, "buckets", buckets)
            return
        b, h, t, d = self.qk.shape
        if rotations is None:
            rotations = np.empty((h, d, shape[3], _core.lsh_rotation_columns(factors)), np.float32)
            _core.torch_normal(integer(name, "seed", seed), rotations)
        found = np.empty((b, h, shape[3], t), np.uint16)
        _core.lsh_hash(self.qk, self.mask, ready(name, "rotations", rotations), found, shape[0],
                       shape[1], shape[2], shape[3], factors, wanted_threads())
        self.buckets = found

    def pull(self, dout: Any) -> tuple[Array, ...]:
        dout = output_gradient("lsh_attention_vjp", dout, self.qk)
        dqk, dv = zeros(self.qk), zeros(self.v)
        _core.lsh_backward(self.qk, self.v, self.mask, self.buckets, self.out, self.max, self.sum,
                           dout, dqk, dv, *self.settings, wanted_threads())
        return dqk, dv
