"""Attention in plain NumPy and double precision: what the functions are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def attention(q: Array, k: Array, v: Array, visible: Array, *, sinks: Array | None = None,
              scale: float | None = None) -> tuple[Array, Array, Array]:
    """out, lse and the weights, given which query sees which key: (..., T, T) of bools."""
    groups = q.shape[1] // k.shape[1]
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
    factor = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    scores = np.where(visible, q @ k.swapaxes(-1, -2) * factor, -np.inf)
    most = scores.max(-1, keepdims=True)
    if sinks is not None:
        sink = np.asarray(sinks, np.float64)[None, :, None, None]
        most = np.maximum(most, sink)
    most = np.where(np.isinf(most), 0.0, most)
    weights = np.exp(scores - most)
    total = weights.sum(-1, keepdims=True)
    if sinks is not None:
        total = total + np.exp(sink - most)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(total > 0, weights / total, 0.0)
        lse = (most + np.log(total))[..., 0]
    return weights @ v, lse, weights


def gradients(q: Array, k: Array, v: Array, visible: Array, dout: Array, *,
              sinks: Array | None = None, scale: float | None = None) -> list[Array]:
    """dq, dk, dv and, with sinks, dsinks."""
    out, lse, weights = attention(q, k, v, visible, sinks=sinks, scale=scale)
    groups = q.shape[1] // k.shape[1]
    b, heads, t, d = k.shape
    factor = 1 / np.sqrt(d) if scale is None else scale
    wide_k, wide_v = (np.repeat(np.asarray(x, np.float64), groups, axis=1) for x in (k, v))
    dout = np.asarray(dout, np.float64)
    dots = (dout * out).sum(-1, keepdims=True)
    dscores = weights * (dout @ wide_v.swapaxes(-1, -2) - dots) * factor

    def summed(x: Array) -> Array:
        return x.reshape(b, heads, groups, t, d).sum(axis=2)

    result = [dscores @ wide_k, summed(dscores.swapaxes(-1, -2) @ np.asarray(q, np.float64)),
              summed(weights.swapaxes(-1, -2) @ dout)]
    if sinks is not None:
        share = np.exp(np.asarray(sinks, np.float64)[None, :, None] - lse)
        result.append(-(share * dots[..., 0]).sum(axis=(0, 2)))
    return result


def window(tokens: int, left: int, right: int, *, dilation: int = 1, causal: bool = False) -> Array:
    """(T, T): which query sees which key of a sliding window."""
    step = np.arange(tokens)[None, :] - np.arange(tokens)[:, None]
    seen = (step % dilation == 0) & (step >= -left * dilation) & (step <= right * dilation)
    return seen & (step <= 0) if causal else seen


def with_roles(seen: Array, roles: Array, *, causal: bool = False) -> Array:
    """(B, 1, T, T): the window of local tokens with global and hidden ones."""
    is_global, shown = roles == 2, roles > 0
    wide = seen[None] | is_global[:, None, :] | is_global[:, :, None]
    wide = wide & shown[:, None, :] & shown[:, :, None]
    if causal:
        wide = wide & np.tril(np.ones(seen.shape, bool))
    return wide[:, None]


def chunks(tokens: int, chunk: int, before: int, after: int, *, causal: bool = False) -> Array:
    """(T, T): which query sees which key of chunked attention; T is a multiple of the chunk."""
    place = np.arange(tokens) // chunk
    distance = place[None, :] - place[:, None]
    count = tokens // chunk
    seen = np.zeros((tokens, tokens), bool)
    for offset in range(-before, after + 1):
        seen |= (distance - offset) % count == 0
    return seen & np.tril(np.ones(seen.shape, bool)) if causal else seen


def worst(actual: Array, expected: Array) -> float:
    """The largest difference, as a share of the largest expected number."""
    actual = np.asarray(actual, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    assert np.isfinite(actual).all()
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30))
