"""longspan.torch beside plain torch in double precision, and under torch.compile."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import longspan

torch = pytest.importorskip("torch")
if True:  # after importorskip
    from torch.utils.checkpoint import checkpoint

    import longspan.torch as lt
    from conftest import Run

pytestmark = pytest.mark.full

FORWARD, BACKWARD, BF16 = 2e-6, 1e-5, 2e-2
Tensor = Any


def naive(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, sinks: Tensor | None = None,
          scale: float | None = None) -> Tensor:
    """Attention in double precision, given which query sees which key."""
    groups = q.shape[1] // k.shape[1]
    q, k, v = q.double(), k.double(), v.double()
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.masked_fill(~visible, -torch.inf)
    if sinks is not None:
        sink = sinks.double()[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sink], -1)
    weights = scores.softmax(-1)
    return (weights if sinks is None else weights[..., :-1]) @ v


def window(tokens: int, left: int, right: int) -> Tensor:
    step = torch.arange(tokens)[None] - torch.arange(tokens)[:, None]
    return (step >= -left) & (step <= right)


def inputs(*shapes: tuple[int, ...], dtype: Any = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


QKV = ((2, 4, 70, 16), (2, 2, 70, 16), (2, 2, 70, 16))


def compare(function: Callable[..., Tensor], expected: Callable[..., Tensor], arguments: list[Tensor],
            forward: float = FORWARD, backward: float = BACKWARD) -> None:
    out, wanted = function(*arguments), expected(*arguments)
    assert (out.double() - wanted).abs().max() < forward * wanted.abs().max()
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(6)).to(out.dtype)
    actual = torch.autograd.grad(out, arguments, dout)
    correct = torch.autograd.grad(wanted, arguments, dout.double())
    largest = max(float(x.abs().max()) for x in correct)
    for one, other, argument in zip(actual, correct, arguments):
        assert one.dtype == argument.dtype and one.shape == argument.shape
        assert (one.double() - other.double()).abs().max() < backward * largest


def test_reference_has_the_right_gradient() -> None:
    q, k, v, sinks = inputs((1, 2, 5, 3), (1, 1, 5, 3), (1, 1, 5, 3), (2,), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *a: naive(*a[:3], window(5, 1, 2), a[3]), (q, k, v, sinks))


ATTENTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "full": (lambda q, k, v: lt.full_attention(q, k, v),
             lambda q, k, v: naive(q, k, v, torch.ones(70, 70, dtype=torch.bool))),
    "causal": (lambda q, k, v: lt.full_attention(q, k, v, causal=True, scale=0.3),
               lambda q, k, v: naive(q, k, v, window(70, 70, 0), scale=0.3)),
    "window": (lambda q, k, v: lt.window_attention(q, k, v, left=5, right=3),
               lambda q, k, v: naive(q, k, v, window(70, 5, 3))),
    "front door": (lambda q, k, v: longspan.window_attention(q, k, v, left=5, right=3),
                   lambda q, k, v: naive(q, k, v, window(70, 5, 3))),
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients(name: str, dtype: Any) -> None:
    bf16 = dtype == torch.bfloat16
    compare(*ATTENTIONS[name], inputs(*QKV, dtype=dtype), *((BF16, BF16) if bf16 else ()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sinks(dtype: Any) -> None:
    arguments = inputs(*QKV, (4,), dtype=dtype)
    bounds = (BF16, BF16) if dtype == torch.bfloat16 else ()
    compare(lambda q, k, v, s: lt.window_attention(q, k, v, left=5, right=0, sinks=s),
            lambda q, k, v, s: naive(q, k, v, window(70, 5, 0), s), arguments, *bounds)
    compare(lambda q, k, v, s: lt.full_attention(q, k, v, causal=True, sinks=s),
            lambda q, k, v, s: naive(q, k, v, window(70, 70, 0), s), arguments, *bounds)


def test_global_and_hidden_tokens() -> None:
    roles = torch.ones(2, 70, dtype=torch.long)
    roles[0, [0, 30]], roles[1, 69], roles[1, :9] = 2, 2, 0
    is_global, shown = roles == 2, roles > 0
    visible = window(70, 5, 3) | is_global[:, None, None] | is_global[:, None, :, None]
    visible = visible & shown[:, None, None]
    rows = shown[:, None, :, None]
    compare(lambda q, k, v: lt.window_attention(q, k, v, left=5, right=3, roles=roles) * rows,
            lambda q, k, v: naive(q, k, v, visible) * rows, inputs(*QKV))


def test_chunked_and_lsh() -> None:
    q, k, v = inputs(*((2, 3, 64, 16),) * 3)
    chunk = torch.arange(64) // 16
    seen = (chunk[:, None] - chunk[None]) % 4 <= 1
    compare(lambda q, k, v: lt.chunked_attention(q, k, v, chunk=16),
            lambda q, k, v: naive(q, k, v, seen), [q, k, v])
    # Beside the function of NumPy arrays, which has tests of its own.
    options: dict[str, Any] = {"chunk": 16, "rounds": 2, "seed": 3}
    out, lse, buckets = lt.lsh_attention(q, v, return_lse=True, return_buckets=True, **options)
    expected, pull = longspan.lsh_attention_vjp(q.detach().numpy(), v.detach().numpy(), **options)
    assert np.array_equal(out.detach().numpy(), expected) and lse.shape == (2, 3, 64)
    dout = torch.randn_like(out)
    for one, other in zip(torch.autograd.grad(out, [q, v], dout), pull(dout.numpy())):
        assert np.array_equal(one.numpy(), other)
    again = lt.lsh_attention(q, v, buckets=buckets, **options)
    assert torch.equal(again, out)


def test_axial() -> None:
    t0, t1 = inputs((5, 3), (7, 4))
    places = torch.arange(6, 26)
    compare(lambda a, b: lt.axial_positions(a, b, 20, start=6),
            lambda a, b: torch.cat([a[places // 7], b[places % 7]], 1).double(), [t0, t1])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["full", "window", "sinks", "chunked", "lsh", "roles", "axial"])
def test_compiled(name: str, dynamic: bool) -> None:
    roles = torch.ones(2, 70, dtype=torch.uint8)
    roles[:, 0] = 2
    functions: dict[str, Callable[..., Any]] = {
        "full": lambda q, k, v, s: lt.full_attention(q, k, v, causal=True),
        "window": lambda q, k, v, s: lt.window_attention(q, k, v, left=5, right=3),
        "sinks": lambda q, k, v, s: lt.window_attention(q, k, v, left=5, right=3, sinks=s,
                                                        return_lse=True)[0],
        "chunked": lambda q, k, v, s: lt.chunked_attention(q, q, q, chunk=16),
        "lsh": lambda q, k, v, s: lt.lsh_attention(q, q * 2, chunk=16, rounds=2),
        "roles": lambda q, k, v, s: lt.window_attention(
            q, q, q, left=5, right=3, roles=roles, global_qkv=(q[:, :, :1], q, q * 2)),
        "axial": lambda q, k, v, s: lt.axial_positions(q[0, 0], k[0, 0], 70, start=1),
    }
    torch._dynamo.reset()
    arguments = inputs(*QKV, (4,))
    eager = functions[name]
    compiled = torch.compile(lambda *a: eager(*a) * 3, fullgraph=True, backend="aot_eager",
                             dynamic=dynamic)
    out, expected = compiled(*arguments), eager(*arguments) * 3
    assert torch.equal(out, expected) and out.stride() == expected.stride()
    dout = torch.randn_like(out)
    for one, other in zip(torch.autograd.grad(out, arguments, dout, allow_unused=True),
                          torch.autograd.grad(expected, arguments, dout, allow_unused=True)):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def test_operators_are_what_they_say() -> None:
    q, k, v, sinks = inputs(*QKV, (4,))
    roles = torch.ones(2, 70, dtype=torch.uint8)
    key = torch.tensor(3)
    ops = torch.ops.longspan
    for operator, arguments in (
            (ops.full_forward, (q, k, v, sinks, roles, key, True, 0.0, 0.1)),
            (ops.window_forward, (q, k, v, sinks, None, None, None, roles, None, 5, 3, False, [], 0.0,
                                  0.0)),
            (ops.chunked_forward, (q, q, v.repeat(1, 2, 1, 1), None, None, 16, 1, 0, False, 0.0, 0.0)),
            (ops.axial_forward, (q[0, 0], k[0, 0], 20, 3))):
        torch.library.opcheck(operator.default, arguments)
    buckets = lt.lsh_attention(q, q, chunk=16, return_buckets=True)[1]
    torch.library.opcheck(ops.lsh_forward.default, (q, q.detach(), None, buckets, None, 16, 1, 0, 1,
                                                    [10], False, 0.0))


def test_dropout_follows_torchs_generator() -> None:
    q, k, v = inputs(*QKV)
    for function in (lt.full_attention, lt.window_attention):
        torch.manual_seed(1)
        first, second = (function(q, k, v, dropout=0.3) for _ in range(2))
        torch.manual_seed(1)
        assert torch.equal(function(q, k, v, dropout=0.3), first)
        assert not torch.equal(first, second)
        assert torch.equal(function(q, k, v, dropout=0.3, dropout_key=9),
                           function(q, k, v, dropout=0.3, dropout_key=9))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_bits(reentrant: bool) -> None:
    def layer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return lt.window_attention(q * 2, k, v, left=9, right=9, dropout=0.2)

    results = []
    for wrapped in (layer, lambda *a: checkpoint(layer, *a, use_reentrant=reentrant)):
        arguments = inputs(*QKV)
        torch.manual_seed(4)
        wrapped(*arguments).square().sum().backward()
        results.append([x.grad for x in arguments])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_autocast_gives_bfloat16() -> None:
    layer = torch.nn.Linear(64, 3 * 64)
    x = torch.randn(2, 70, 64)
    with torch.autocast("cpu", torch.bfloat16):
        q, k, v = layer(x).view(2, 70, 3, 4, 16).permute(2, 0, 3, 1, 4)
        out = lt.window_attention(q, k, v, left=9, right=9)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad is not None and bool(torch.isfinite(layer.weight.grad).all())


def test_layouts_are_used_as_they_are() -> None:
    b, t, h, d = 2, 50, 4, 16
    fused = torch.randn(b, t, 3, h, d)
    layouts = {
        "columns": torch.randn(b, t, h * d).view(b, t, h, d).transpose(1, 2),
        "rows": torch.randn(b, h, t, d),
        "fused": fused[:, :, 2].transpose(1, 2),
        "fused first": fused.permute(2, 0, 3, 1, 4)[0],
        "one head": torch.randn(b, 1, t, d).expand(b, h, t, d),
    }
    seen: list[int] = []
    original = longspan._core.window_forward

    def spy(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> None:
        seen.extend(x.data_ptr() for x in (q, k, v))
        original(q, k, v, *rest)

    longspan._core.window_forward = spy
    try:
        for name, x in layouts.items():
            seen.clear()
            out = lt.window_attention(x, x, x, left=5, right=5)
            assert seen == [x.data_ptr()] * 3, name
            assert out.stride() == (t * h * d, d, h * d, 1), name
            assert out.transpose(1, 2).reshape(b, t, h * d).data_ptr() == out.data_ptr(), name
    finally:
        longspan._core.window_forward = original


def test_gradient_of_any_layout() -> None:
    arguments = inputs(*QKV)
    lt.window_attention(*arguments, left=5, right=5).sum().backward()  # its strides are all 0
    expected = torch.autograd.grad(naive(*arguments, window(70, 5, 5)).sum(), arguments)
    largest = max(float(x.abs().max()) for x in expected)
    for one, other in zip(arguments, expected):
        assert (one.grad - other).abs().max() < BACKWARD * largest


def test_functions_of_arrays_lose_no_gradient() -> None:
    q, k, v = inputs(*QKV)
    for function in (longspan.full_attention, longspan.window_attention):
        assert function(q, k, v).requires_grad
        assert function(q.detach(), k, v).requires_grad
    with pytest.raises(TypeError, match="longspan.torch.full_attention"):
        longspan.full_attention_vjp(q, k, v)
    with pytest.raises(TypeError, match="one kind"):
        longspan.full_attention(q, k.detach().numpy(), v)
    assert longspan.axial_positions(*inputs((3, 4), (3, 4))).requires_grad


def test_views_with_the_opposite_sign() -> None:
    q, k, v = (x.detach() for x in inputs(*QKV))
    expected = lt.full_attention(-q, k, -v)
    assert torch.equal(lt.full_attention(torch._neg_view(q), k, torch._neg_view(v)), expected)
    grad = q.clone().requires_grad_()
    out = lt.full_attention(grad, k, v)
    dout = torch.randn_like(out)
    (one,) = torch.autograd.grad(out, grad, torch._neg_view(dout), retain_graph=True)
    (other,) = torch.autograd.grad(out, grad, dout)
    assert torch.equal(one, -other)


def test_what_has_no_memory_of_its_own() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    with FakeTensorMode():
        fake = torch.randn(1, 2, 16, 8)
        assert lt.full_attention(fake, fake, fake).shape == fake.shape
    q = inputs((1, 2, 16, 8))[0].detach()
    with pytest.raises(RuntimeError):
        torch.vmap(lambda x: lt.full_attention(x, x, x))(q[None])

    class Named(torch.Tensor):  # type: ignore[misc]
        pass

    assert torch.equal(lt.full_attention(q.as_subclass(Named), q, q), lt.full_attention(q, q, q))


def test_no_forward_derivative_is_lost() -> None:
    q = inputs((1, 2, 16, 8))[0].detach()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(q, q)
        with pytest.raises(ValueError, match="forward-mode"):
            lt.full_attention(dual, q, q)


def test_no_second_derivative() -> None:
    q, k, v = inputs(*QKV)
    (dq,) = torch.autograd.grad(lt.full_attention(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()


WRONG: dict[str, Callable[[], Any]] = {
    "float64": lambda: torch.zeros(QKV[1], dtype=torch.float64),
    "float16": lambda: torch.zeros(QKV[1], dtype=torch.float16),
    "int64": lambda: torch.zeros(QKV[1], dtype=torch.int64),
    "bool": lambda: torch.zeros(QKV[1], dtype=torch.bool),
    "complex": lambda: torch.zeros(QKV[1], dtype=torch.complex64),
    "other type": lambda: torch.zeros(QKV[1], dtype=torch.bfloat16),
    "meta": lambda: torch.zeros(QKV[1], device="meta"),
    "sparse": lambda: torch.zeros(QKV[1]).to_sparse(),
    "3 axes": lambda: torch.zeros(QKV[1][1:]), "5 axes": lambda: torch.zeros(1, *QKV[1]),
    "scalar": lambda: torch.tensor(1.0), "other batch": lambda: torch.zeros(1, 2, 70, 16),
    "other tokens": lambda: torch.zeros(2, 2, 71, 16),
    "other width": lambda: torch.zeros(2, 2, 70, 17), "3 heads": lambda: torch.zeros(2, 3, 70, 16),
    "no tokens": lambda: torch.zeros(2, 2, 0, 16), "array": lambda: np.zeros(QKV[1], np.float32),
    "list": lambda: [1.0], "None": lambda: None, "number": lambda: 2.0,
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("function", [lt.full_attention, lt.window_attention, lt.chunked_attention])
def test_wrong_tensor(function: Callable[..., Any], kind: str, place: int, grad: bool) -> None:
    arguments: list[Any] = inputs(*QKV) if grad else [x.detach() for x in inputs(*QKV)]
    if function is lt.chunked_attention:
        arguments[0] = arguments[0][:, :2]
    arguments[place] = WRONG[kind]()
    with pytest.raises((TypeError, ValueError)) as caught:
        function(*arguments)
    text = str(caught.value)
    assert isinstance(caught.value, longspan.Error) and "\n" not in text and len(text) < 300


def test_modules_copy_and_save() -> None:
    class Layer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.sinks = torch.nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return lt.window_attention(x, x, x, left=3, right=3, sinks=self.sinks)

    layer, x = Layer(), torch.randn(1, 4, 20, 8)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("first,second", [("torch", "longspan"), ("longspan", "torch")])
def test_one_openmp_runtime(run: Run, first: str, second: str) -> None:
    text = f"""
import {first}, {second}, longspan.torch
import torch
x = torch.randn(1, 2, 900, 64)
longspan.full_attention(x, x, x); x @ x.transpose(-1, -2)
from longspan._runtime import config, openmp_runtimes
assert len(openmp_runtimes()) == 1, openmp_runtimes()
assert config()["threads"] == torch.get_num_threads()
torch.set_num_threads(1)
assert longspan.get_threads() == 1
"""
    result = run(text)
    assert result.returncode == 0, result.stderr


def test_workers_of_a_loader(run: Run) -> None:
    text = """
import torch, longspan.torch as lt
x = torch.randn(4, 2, 700, 32)
lt.full_attention(x, x, x)  # the parent has used its threads
class Data(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, i): return lt.full_attention(x[i:i+1], x[i:i+1], x[i:i+1])[0]
for method in ("fork", "spawn")[:1]:
    loader = torch.utils.data.DataLoader(Data(), num_workers=2, multiprocessing_context=method)
    out = torch.cat(list(loader))
    assert torch.equal(out, torch.cat([Data()[i][None] for i in range(4)]))
print("done")
"""
    result = run(text, seconds=120)
    assert result.stdout == "done\n", result.stderr
