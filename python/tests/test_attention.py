"""The attention functions of NumPy arrays beside plain NumPy in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import longspan
import reference
from longspan import _core

FORWARD, BACKWARD = 2e-6, 1e-5  # float32, as shares of the largest number
BF16 = 2e-2  # eight bits


def heads(random: np.random.Generator, *shape: int) -> Any:
    return random.standard_normal(shape, dtype=np.float32)


def columns(array: Any) -> Any:
    """The same (B, H, T, D) as columns of (B, T, H D), which models have."""
    return np.ascontiguousarray(array.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


def check(function: Any, pullback: Any, arrays: list[Any], visible: Any, random: np.random.Generator,
          sinks: Any = None, scale: float | None = None, rows: Any = None, **options: Any) -> None:
    """Forward, lse and gradients against the reference; only ``rows`` (B, 1, T, 1) are compared."""
    if sinks is not None:
        options["sinks"] = sinks
    if scale is not None:
        options["scale"] = scale
    out, lse = function(*arrays, return_lse=True, **options)
    expected, expected_lse, _ = reference.attention(*arrays, visible, sinks=sinks, scale=scale)
    keep = np.ones(out.shape, bool) if rows is None else np.broadcast_to(rows, out.shape)
    assert reference.worst(np.where(keep, out, 0), np.where(keep, expected, 0)) < FORWARD
    assert reference.worst(np.where(keep[..., 0], lse, 0),
                           np.where(keep[..., 0], expected_lse, 0)) < FORWARD
    again, pull = pullback(*arrays, **options)
    assert np.array_equal(again, out)
    dout = np.where(keep, heads(random, *out.shape), np.float32(0))
    wanted = reference.gradients(*arrays, visible, dout, sinks=sinks, scale=scale)
    actual = pull(dout)
    assert len(actual) == len(wanted)
    largest = max(float(np.abs(x).max()) for x in wanted)  # one of them may be 0 but for rounding
    for one, other in zip(actual, wanted):
        assert one.dtype == np.float32 and one.shape == other.shape
        assert np.abs(one - other).max() < BACKWARD * largest


@pytest.mark.parametrize("tokens", [1, 7, 130])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_full(random: np.random.Generator, tokens: int, groups: int, causal: bool,
              with_sinks: bool) -> None:
    q, k, v = (heads(random, 2, 2 * groups if i == 0 else 2, tokens, 20) for i in range(3))
    sinks = heads(random, 2 * groups) if with_sinks else None
    visible = np.tril(np.ones((tokens, tokens), bool)) if causal else np.ones((tokens, tokens), bool)
    check(longspan.full_attention, longspan.full_attention_vjp, [q, k, v], visible, random,
          sinks=sinks, causal=causal)


def test_full_hides_keys(random: np.random.Generator) -> None:
    q, k, v = (heads(random, 2, 3, 50, 16) for _ in range(3))
    mask = np.arange(50) < np.array([[50], [13]])
    visible = np.broadcast_to(mask[:, None, None, :], (2, 3, 50, 50))
    for kind in (bool, np.uint8, np.int64):
        check(longspan.full_attention, longspan.full_attention_vjp, [q, k, v], visible, random,
              key_mask=mask.astype(kind), scale=0.3)


@pytest.mark.parametrize("tokens,left,right", [(1, 4, 4), (9, 0, 0), (70, 5, 3), (70, 200, 1),
                                               (300, 64, 64), (300, 2**62, 0)])
@pytest.mark.parametrize("groups", [1, 2])
def test_window(random: np.random.Generator, tokens: int, left: int, right: int,
                groups: int) -> None:
    q, k, v = (columns(heads(random, 2, 4 if i == 0 else 4 // groups, tokens, 16))
               for i in range(3))
    sinks = heads(random, 4)
    for causal in (False, True):
        visible = reference.window(tokens, min(left, tokens), min(right, tokens), causal=causal)
        check(longspan.window_attention, longspan.window_attention_vjp, [q, k, v], visible, random,
              left=left, right=right, causal=causal)
        check(longspan.window_attention, longspan.window_attention_vjp, [q, k, v], visible, random,
              left=left, right=right, causal=causal, sinks=sinks)


def test_dilation(random: np.random.Generator) -> None:
    q, k, v = (heads(random, 1, 4 if i == 0 else 2, 90, 16) for i in range(3))
    steps = [1, 2, 3, 5]
    visible = np.stack([reference.window(90, 4, 3, dilation=d) for d in steps])
    check(longspan.window_attention, longspan.window_attention_vjp, [q, k, v], visible, random,
          left=4, right=3, dilation=steps)
    check(longspan.window_attention, longspan.window_attention_vjp, [q, k, v], visible[2], random,
          left=4, right=3, dilation=3)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_global_tokens(random: np.random.Generator, groups: int, causal: bool) -> None:
    q, k, v = (heads(random, 2, 4 if i == 0 else 4 // groups, 60, 16) for i in range(3))
    roles = np.ones((2, 60), np.int64)
    roles[0, [0, 31, 59]] = longspan.GLOBAL
    roles[1, 7] = longspan.GLOBAL
    roles[1, 50:] = longspan.HIDDEN
    visible = reference.with_roles(reference.window(60, 4, 3, causal=causal), roles, causal=causal)
    check(longspan.window_attention, longspan.window_attention_vjp, [q, k, v], visible, random,
          rows=(roles > 0)[:, None, :, None], left=4, right=3, causal=causal, roles=roles)


def test_global_projections(random: np.random.Generator) -> None:
    q, k, v, kg, vg = (heads(random, 2, 3, 40, 16) for _ in range(5))
    roles = np.ones((2, 40), np.uint8)
    roles[0, [2, 9]], roles[1, 5] = 2, 2
    qg = heads(random, 2, 3, 2, 16)
    options = {"left": 3, "right": 3, "roles": roles}
    out, pull = longspan.window_attention_vjp(q, k, v, global_qkv=(qg, kg, vg), **options)
    shared = longspan.window_attention(q, k, v, **options)
    local = np.broadcast_to((roles == 1)[:, None, :, None], out.shape)
    assert np.array_equal(out[local], shared[local])
    everything = np.ones((2, 40), bool)
    rows, _, _ = reference.attention(qg, kg, vg, everything)
    assert reference.worst(out[0][:, [2, 9]], rows[0]) < FORWARD
    assert reference.worst(out[1][:, 5], rows[1][:, 0]) < FORWARD
    dout = np.where(local, np.float32(0), heads(random, *out.shape))
    gradients = pull(dout)
    assert [x.shape for x in gradients] == [x.shape for x in (q, k, v, qg, kg, vg)]
    dqg = np.zeros_like(qg)
    dqg[0], dqg[1, :, 0] = dout[0][:, [2, 9]], dout[1][:, 5]
    # The reference of whole rows: a product of (2, T), not square.
    _, _, weights = reference.attention(qg, kg, vg, everything)
    assert reference.worst(gradients[5], weights.swapaxes(-1, -2) @ dqg.astype(np.float64)) < BACKWARD


@pytest.mark.parametrize("before,after", [(1, 0), (0, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_chunked(random: np.random.Generator, before: int, after: int, causal: bool) -> None:
    q, k, v = (heads(random, 2, 3, 96, 16) for _ in range(3))
    visible = reference.chunks(96, 16, before, after, causal=causal)
    check(longspan.chunked_attention, longspan.chunked_attention_vjp, [q, k, v], visible, random,
          chunk=16, before=before, after=after, causal=causal)


def test_lsh_of_one_chunk_is_full_attention_on_shared_keys(random: np.random.Generator) -> None:
    qk, v = heads(random, 2, 3, 40, 16), heads(random, 2, 3, 40, 16)
    out, lse, buckets = longspan.lsh_attention(qk, v, chunk=40, return_lse=True, return_buckets=True)
    assert buckets is None
    wide = qk.astype(np.float64)
    keys = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6)
    others = ~np.eye(40, dtype=bool)
    expected, expected_lse, _ = reference.attention(qk, keys, v, others)
    assert reference.worst(out, expected) < FORWARD
    assert reference.worst(lse, expected_lse) < FORWARD


def test_lsh_of_few_tokens(random: np.random.Generator) -> None:
    for tokens in (1, 5, 63, 64, 65):
        qk, v = heads(random, 1, 2, tokens, 16), heads(random, 1, 2, tokens, 16)
        assert np.isfinite(longspan.lsh_attention(qk, v)).all()


def test_lsh_buckets_decide(random: np.random.Generator) -> None:
    qk, v = heads(random, 2, 3, 256, 16), heads(random, 2, 3, 256, 16)
    options: dict[str, Any] = {"chunk": 32, "rounds": 2, "num_buckets": (4, 4), "causal": True}
    out, buckets = longspan.lsh_attention(qk, v, seed=5, return_buckets=True, **options)
    assert buckets.shape == (2, 3, 2, 256) and buckets.dtype == np.uint16
    assert buckets.max() < 16 and len(np.unique(buckets)) == 16
    assert np.array_equal(longspan.lsh_attention(qk, v, buckets=buckets, **options), out)
    assert not np.array_equal(longspan.lsh_attention(qk, v, seed=6, **options), out)
    # Directional derivatives in float32: coarse, with the buckets held.
    again, pull = longspan.lsh_attention_vjp(qk, v, buckets=buckets, **options)
    assert np.array_equal(again, out)
    dout = heads(random, *out.shape)
    for place, gradient in enumerate(pull(dout)):
        step = heads(random, *qk.shape)
        ends = []
        for sign in (1, -1):
            moved = [qk, v]
            moved[place] = moved[place] + np.float32(sign * 1e-2) * step
            ends.append((longspan.lsh_attention(*moved, buckets=buckets, **options)
                         .astype(np.float64) * dout).sum())
        expected = (ends[0] - ends[1]) / 2e-2
        assert abs((gradient * step).sum() - expected) < 1e-2 * abs(expected) + 0.05


def test_axial(random: np.random.Generator) -> None:
    t0, t1 = (random.standard_normal(s, dtype=np.float32) for s in ((5, 3), (7, 4)))
    out, pull = longspan.axial_positions_vjp(t0, t1, 20, start=6)
    places = np.arange(6, 26)
    assert np.array_equal(out, np.concatenate([t0[places // 7], t1[places % 7]], axis=1))
    assert longspan.axial_positions(t0, t1).shape == (35, 7)
    dout = random.standard_normal(out.shape, dtype=np.float32)
    d0, d1 = pull(dout)
    expected = np.zeros_like(t0), np.zeros_like(t1)
    np.add.at(expected[0], places // 7, dout[:, :3])
    np.add.at(expected[1], places % 7, dout[:, 3:])
    assert reference.worst(d0, expected[0]) < FORWARD and reference.worst(d1, expected[1]) < FORWARD


def test_dropout_is_replayed(random: np.random.Generator) -> None:
    q, k = (heads(random, 1, 4 if i == 0 else 2, 64, 16) for i in range(2))
    ones = np.ones_like(k)
    options: dict[str, Any] = {"left": 20, "right": 20, "dropout": 0.5}
    out, pull = longspan.window_attention_vjp(q, k, ones, dropout_key=3, **options)
    assert np.array_equal(longspan.window_attention(q, k, ones, dropout_key=3, **options), out)
    assert not np.array_equal(longspan.window_attention(q, k, ones, dropout_key=4, **options), out)
    assert abs(out.mean() - 1.0) < 0.1  # of weights that sum to 1, half vanish and half double
    assert not np.array_equal(out[:, 0], out[:, 1])  # groups have random numbers of their own
    dv = pull(np.ones_like(out))[2]
    assert reference.worst(dv.sum(dtype=np.float64), out.sum(dtype=np.float64)) < FORWARD


def test_bfloat16(random: np.random.Generator) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = [heads(random, 2, 2, 80, 32).astype(ml_dtypes.bfloat16) for _ in range(3)]
    out, pull = longspan.window_attention_vjp(*arrays, left=9, right=9)
    assert out.dtype == ml_dtypes.bfloat16
    wide = [x.astype(np.float64) for x in arrays]
    visible = reference.window(80, 9, 9)
    assert reference.worst(out, reference.attention(*wide, visible)[0]) < BF16
    dout = heads(random, *out.shape)
    for one, other in zip(pull(dout), reference.gradients(*wide, visible, dout)):
        assert one.dtype == np.float32 and reference.worst(one, other) < BF16


def test_what_is_hidden_spoils_nothing(random: np.random.Generator) -> None:
    arrays = [heads(random, 2, 2, 40, 16) for _ in range(3)]
    mask = np.ones((2, 40), bool)
    mask[1, 25:] = False
    dirty = [x.copy() for x in arrays]
    for place, x in enumerate(dirty):
        x[1, :, 25:] = (np.nan, np.inf, -np.inf)[place]
    # Windows never look at hidden tokens.
    options: dict[str, Any] = {"key_mask": mask, "left": 4, "right": 4}
    clean, pull = longspan.window_attention_vjp(*arrays, **options)
    out, pull_dirty = longspan.window_attention_vjp(*dirty, **options)
    assert np.array_equal(out, clean) and not out[1, :, 25:].any()
    dout = heads(random, *out.shape)
    for one, other in zip(pull(dout), pull_dirty(dout)):
        assert np.array_equal(one, other)
    # The others weigh them with 0, and say if that is not enough.
    for function, more in ((longspan.full_attention, {}), (longspan.chunked_attention, {"chunk": 8})):
        for place, name in enumerate("qkv"):
            mixed = [dirty[i] if i == place else arrays[i] for i in range(3)]
            with pytest.raises(ValueError, match=f"{name} is not finite at batch 1, token 25"):
                function(*mixed, key_mask=mask, **more)
    with pytest.raises(ValueError, match="qk is not finite at batch 1, token 25"):
        longspan.lsh_attention(dirty[0], arrays[1], key_mask=mask, chunk=8)


def test_layouts_are_used_as_they_are(random: np.random.Generator,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = _core.window_forward

    def spy(q: Any, k: Any, v: Any, *rest: Any) -> None:
        seen.extend((q, k, v))
        original(q, k, v, *rest)

    monkeypatch.setattr(_core, "window_forward", spy)
    q = columns(heads(random, 2, 4, 50, 16))
    fused = heads(random, 2, 50, 3, 4, 16)  # one projection of q, k and v
    sliced = fused[:, :, 2].transpose(0, 2, 1, 3)
    flipped = heads(random, 2, 4, 50, 16)[:, :, ::-1]
    stepped = heads(random, 2, 4, 50, 32)[..., ::2]
    broadcast = np.broadcast_to(heads(random, 1, 1, 50, 16), (2, 4, 50, 16))
    readonly = heads(random, 2, 4, 50, 16)
    readonly.setflags(write=False)
    wanted = {name: longspan.window_attention(np.array(x), np.array(x), np.array(x), left=5, right=5)
              for name, x in (("q", q), ("sliced", sliced), ("flipped", flipped),
                              ("stepped", stepped), ("broadcast", broadcast), ("readonly", readonly))}
    for name, x in (("q", q), ("sliced", sliced), ("flipped", flipped), ("stepped", stepped),
                    ("broadcast", broadcast), ("readonly", readonly)):
        seen.clear()
        assert np.array_equal(longspan.window_attention(x, x, x, left=5, right=5), wanted[name]), name
        copied = name in ("flipped", "stepped")  # a negative step, and one of the last axis
        assert all((array is x) != copied for array in seen), name


def test_output_of_ones_own(random: np.random.Generator) -> None:
    q = heads(random, 1, 2, 30, 16)
    rows = np.zeros((1, 30, 2, 16), np.float32)
    out = longspan.full_attention(q, q, q, out=rows.transpose(0, 2, 1, 3))
    assert out.base is rows and np.array_equal(out, longspan.full_attention(q, q, q))
