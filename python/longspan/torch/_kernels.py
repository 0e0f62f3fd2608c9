"""The kernels as functions of tensors, without autograd: each allocates what it returns.

Arguments have been checked by the functions of attention.py as far as Python can; _core checks the
rest before it runs. ``key`` of dropout is a tensor of one integer, or None for 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longspan import _core
from longspan._runtime import wanted_threads
from longspan.attention.lsh import bucket_factors


def row_numbers(q: Tensor) -> Tensor:
    """An empty (B, H, T) of float32."""
    b, h, t, _ = q.shape
    return q.new_empty((b, h, t), dtype=torch.float32)


def outputs(q: Tensor) -> tuple[Tensor, Tensor]:
    """What every call writes: an empty out (B, H, T, D) whose memory is (B, T, H, D), and an empty
    lse (B, H, T) of float32."""
    b, h, t, d = q.shape
    out = q.new_empty_strided((b, h, t, d), (t * h * d, d, h * d, 1))
    if q.dtype is torch.float32:  # naming the type costs a microsecond
        return out, q.new_empty((b, h, t))
    return out, q.new_empty((b, h, t), dtype=torch.float32)


def gradient_of(tensor: Tensor) -> Tensor:
    """Zeros to add a gradient to, in the layout of the tensor."""
    return torch.zeros_like(tensor, dtype=torch.float32)


def optional_gradient(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else gradient_of(tensor)


def ready(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if its last axis has a step."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def ready_gradient(dout: Tensor) -> Tensor:
    """The gradient of an output, which may come in any layout, and as a view with the opposite
    sign."""
    return ready(dout.resolve_neg())


def rounded(gradient: Tensor, like: Tensor) -> Tensor:
    return gradient if like.dtype == torch.float32 else gradient.to(like.dtype)


def number_of(key: Tensor | None) -> int:
    return 0 if key is None else int(key)


# ---- full attention -----------------------------------------------------------------------------


def full_forward(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, mask: Tensor | None,
                 key: Tensor | None, causal: bool, scale: float,
                 dropout: float) -> tuple[Tensor, Tensor]:
    out, lse = outputs(q)
    _core.full_forward(q, k, v, mask, sinks, out, lse, causal, scale, dropout, number_of(key),
                       wanted_threads())
    return out, lse


def full_backward(dout: Tensor, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None,
                  mask: Tensor | None, key: Tensor | None, out: Tensor, lse: Tensor, causal: bool,
                  scale: float, dropout: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    dq, dk, dv = gradient_of(q), gradient_of(k), gradient_of(v)
    dsinks = optional_gradient(sinks)
    _core.full_backward(q, k, v, mask, sinks, out, lse, ready_gradient(dout), dq, dk, dv, dsinks,
                        causal, scale, dropout, number_of(key), wanted_threads())
    return rounded(dq, q), rounded(dk, k), rounded(dv, v), dsinks


# ---- sliding windows and global tokens ----------------------------------------------------------


def window_forward(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, gq: Tensor | None,
                   gk: Tensor | None, gv: Tensor | None, roles: Tensor | None, key: Tensor | None,
                   left: int, right: int, causal: bool, dilation: list[int], scale: float,
                   dropout: float) -> tuple[Tensor, Tensor]:
    out, lse = outputs(q)
    number, threads = number_of(key), wanted_threads()
    _core.window_forward(q, k, v, roles, sinks, out, lse, left, right, causal, dilation, scale,
                         dropout, number, threads)
    if gq is not None:
        _core.global_forward(gq, gk, gv, roles, out, lse, left, right, causal, scale, dropout,
                             number, threads)
    return out, lse


def window_backward(
        dout: Tensor, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, gq: Tensor | None,
        gk: Tensor | None, gv: Tensor | None, roles: Tensor | None, key: Tensor | None, out: Tensor,
        lse: Tensor, left: int, right: int, causal: bool, dilation: list[int], scale: float,
        dropout: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None,
                                 Tensor | None, Tensor | None]:
    dout = ready_gradient(dout)
    dq, dk, dv = gradient_of(q), gradient_of(k), gradient_of(v)
    dsinks = optional_gradient(sinks)
    number, threads = number_of(key), wanted_threads()
    _core.window_backward(q, k, v, roles, sinks, out, lse, dout, dq, dk, dv, dsinks, left, right,
                          causal, dilation, scale, dropout, number, threads)
    grads: list[Tensor | None] = [None, None, None]
    if gq is not None and gk is not None and gv is not None:
        sums = gradient_of(gq), gradient_of(gk), gradient_of(gv)
        _core.global_backward(gq, gk, gv, roles, out, lse, dout, *sums, left, right, causal, scale,
                              dropout, number, threads)
        grads = [rounded(total, like) for total, like in zip(sums, (gq, gk, gv))]
    return (rounded(dq, q), rounded(dk, k), rounded(dv, v), dsinks, grads[0], grads[1], grads[2])


# ---- chunked attention --------------------------------------------------------------------------


def chunked_forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, key: Tensor | None,
                    chunk: int, before: int, after: int, causal: bool, scale: float,
                    dropout: float) -> tuple[Tensor, Tensor]:
    out, lse = outputs(q)
    _core.chunked_forward(q, k, v, mask, out, lse, chunk, before, after, causal, scale, dropout,
                          number_of(key), wanted_threads())
    return out, lse


def chunked_backward(dout: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None,
                     key: Tensor | None, out: Tensor, lse: Tensor, chunk: int, before: int,
                     after: int, causal: bool, scale: float,
                     dropout: float) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = gradient_of(q), gradient_of(k), gradient_of(v)
    _core.chunked_backward(q, k, v, mask, out, lse, ready_gradient(dout), dq, dk, dv, chunk, before,
                           after, causal, scale, dropout, number_of(key), wanted_threads())
    return rounded(dq, q), rounded(dk, k), rounded(dv, v)


# ---- LSH attention ------------------------------------------------------------------------------


def factors_of(qk: Tensor, chunk: int, factors: list[int]) -> list[int]:
    """The factors of the number of buckets; none: the default for so many tokens."""
    return factors or bucket_factors("lsh_attention", None, qk.shape[2], chunk)


def lsh_hash(qk: Tensor, mask: Tensor | None, rotations: Tensor | None, seed: int, chunk: int,
             before: int, after: int, rounds: int, factors: list[int]) -> Tensor:
    b, h, t, d = qk.shape
    factors = factors_of(qk, chunk, factors)
    if rotations is None:
        rotations = torch.empty((h, d, rounds, _core.lsh_rotation_columns(factors)),
                                dtype=torch.float32, device="cpu")
        _core.torch_normal(seed, rotations)
    buckets = qk.new_empty((b, h, rounds, t), dtype=torch.uint16)
    _core.lsh_hash(qk, mask, rotations, buckets, chunk, before, after, rounds, factors,
                   wanted_threads())
    return buckets


def lsh_forward(qk: Tensor, v: Tensor, mask: Tensor | None, buckets: Tensor | None,
                key: Tensor | None, chunk: int, before: int, after: int, rounds: int,
                factors: list[int], causal: bool,
                dropout: float) -> tuple[Tensor, Tensor, Tensor]:
    (out, most), total = outputs(qk), row_numbers(qk)
    _core.lsh_forward(qk, v, mask, buckets, out, most, total, chunk, before, after, rounds,
                      factors_of(qk, chunk, factors), causal, dropout, number_of(key),
                      wanted_threads())
    return out, most, total


def lsh_backward(dout: Tensor, qk: Tensor, v: Tensor, mask: Tensor | None, buckets: Tensor | None,
                 key: Tensor | None, out: Tensor, most: Tensor, total: Tensor, chunk: int,
                 before: int, after: int, rounds: int, factors: list[int], causal: bool,
                 dropout: float) -> tuple[Tensor, Tensor]:
    dqk, dv = gradient_of(qk), gradient_of(v)
    _core.lsh_backward(qk, v, mask, buckets, out, most, total, ready_gradient(dout), dqk, dv, chunk,
                       before, after, rounds, factors_of(qk, chunk, factors), causal, dropout,
                       number_of(key), wanted_threads())
    return rounded(dqk, qk), rounded(dv, v)


# ---- axial positions ----------------------------------------------------------------------------


def axial_forward(table0: Tensor, table1: Tensor, tokens: int, start: int) -> tuple[Tensor]:
    out = table0.new_zeros((tokens, table0.shape[1] + table1.shape[1]))
    _core.axial_forward(table0, table1, out, start, wanted_threads())
    return (out,)


def axial_backward(dout: Tensor, table0: Tensor, table1: Tensor, out: Tensor, tokens: int,
                   start: int) -> tuple[Tensor, Tensor]:
    dtable0, dtable1 = gradient_of(table0), gradient_of(table1)
    _core.axial_backward(table0, table1, ready_gradient(dout), dtable0, dtable1, start,
                         wanted_threads())
    return dtable0, dtable1
