"""The kernels with gradients, in two forms that compute the same.

Eager calls go through a torch.autograd.Function: some 10 microseconds. Under torch.compile they are
operators of the library ``longspan``, which the compiler can look through: it needs a schema, the
strides of what comes out (a "fake" kernel), and the gradient as an operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.compiler import is_compiling
from torch.nn import Parameter

from longspan._errors import UsageError
from longspan.torch import _kernels

_library: Any = torch.library.Library("longspan", "DEF")  # type: ignore[no-untyped-call]


class Operation:
    """One kernel, its gradient and both of its forms.

    ``tensors`` is the number of its arguments that are tensors, which come first;
    ``differentiable`` the number of those that have gradients, the very first. Several tensors come
    out, of which the first has a gradient.
    """

    def __init__(self, name: str, tensors: str, settings: str, outputs: int, differentiable: int,
                 fake: Callable[..., Any]) -> None:
        self.forward: Callable[..., Any] = getattr(_kernels, f"{name}_forward")
        self.backward: Callable[..., Any] = getattr(_kernels, f"{name}_backward")
        self.tensors, self.differentiable = tensors.count("Tensor"), differentiable
        self.function = _make_function(self, name)
        saved = "".join(f", Tensor saved{i}" for i in range(outputs))
        self.operator = _define(f"{name}_forward", f"({tensors}, {settings})", outputs,
                                self.forward, fake)
        self.backward_operator = _define(f"{name}_backward",
                                         f"(Tensor dout, {tensors}{saved}, {settings})",
                                         differentiable, self._backward_of_operator,
                                         self._fake_backward)
        torch.library.register_autograd(f"longspan::{name}_forward", self._gradient,
                                        setup_context=self._save, lib=_library)

    def __call__(self, *arguments: Any) -> Any:
        """All that comes out, as a tuple."""
        # Tensors without memory of their own that holds their numbers (fake ones, distributed ones,
        # views with the opposite sign): torch knows what an operator gets.
        plain, wanted = not is_compiling(), False
        for tensor in arguments[:self.tensors] if plain else ():
            if tensor is not None:
                kind = type(tensor)
                if (kind is not Tensor and kind is not Parameter) or tensor.is_neg():
                    plain = False
                elif tensor.requires_grad:
                    wanted = True
        if not plain:
            result = self.operator(*arguments)
            return result if isinstance(result, tuple) else (result,)
        if forward_ad._current_level >= 0:  # its tangents would be lost in silence
            raise UsageError("longspan.torch has no forward-mode derivatives: leave the dual level "
                             "of torch.autograd.forward_ad, or call backward()")
        outputs = self.forward(*arguments)
        if wanted and torch.is_grad_enabled():
            return (self._attach(arguments, outputs), *outputs[1:])
        return outputs

    def _attach(self, arguments: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> Any:
        """The first output with its gradient. Each argument of a Function costs time, so those that
        are None, at the end of the differentiable ones, go along in one tuple with the rest."""
        count = self.differentiable
        while arguments[count - 1] is None:
            count -= 1
        return self.function.apply(*arguments[:count], (outputs, arguments[count:]))

    # An operator always returns tensors, so an empty one stands for a gradient that there is not.

    def _backward_of_operator(self, dout: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        grads = self.backward(dout, *arguments)
        return tuple(dout.new_empty(0) if grad is None else grad for grad in grads)

    def _fake_backward(self, dout: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        return tuple(dout.new_empty(0) if tensor is None else torch.empty_like(tensor)
                     for tensor in arguments[:self.differentiable])

    def _save(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.save_for_backward(*inputs[:self.tensors], *outputs)
        ctx.settings = inputs[self.tensors:]

    def _gradient(self, ctx: Any, dout: Tensor, *_: Any) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        grads = self.backward_operator(dout, *saved, *ctx.settings)
        there = (None if tensor is None else grad for tensor, grad in zip(saved, grads))
        return (*there, *(None,) * (self.tensors - self.differentiable + len(ctx.settings)))


def _define(name: str, arguments: str, outputs: int, kernel: Callable[..., Any],
            fake: Callable[..., Any]) -> Callable[..., Any]:
    # Of one output an operator returns the tensor alone.
    results = ", ".join(["Tensor"] * outputs)
    _library.define(f"{name}{arguments} -> ({results})")
    if outputs == 1:
        def alone(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *arguments: function(*arguments)[0]
        kernel, fake = alone(kernel), alone(fake)
    _library.impl(name, kernel, "CPU")
    torch.library.register_fake(f"longspan::{name}", fake, lib=_library)
    operator: Callable[..., Any] = getattr(torch.ops.longspan, name).default
    return operator


def _make_function(operation: Operation, name: str) -> Any:
    # What comes out was computed before, outside of the function: there a call costs less.
    class Function(torch.autograd.Function):

        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Tensor:
            outputs, ctx.rest = arguments[-1]
            ctx.save_for_backward(*arguments[:-1], *outputs)
            result: Tensor = outputs[0]
            return result

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dout: Tensor) -> Any:
            count = len(ctx.needs_input_grad) - 1
            saved, rest = ctx.saved_tensors, ctx.rest
            others = operation.tensors - count  # tensors among the rest
            grads = operation.backward(dout, *saved[:count], *rest[:others], *saved[count:],
                                       *rest[others:])
            return (*grads[:count], None)

    Function.__name__ = Function.__qualname__ = f"longspan_{name}"
    return Function


# ---- the operations -----------------------------------------------------------------------------


def _fake_attention(q: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return _kernels.outputs(q)


def _fake_lsh(qk: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return *_kernels.outputs(qk), _kernels.row_numbers(qk)


def _fake_axial(table0: Tensor, table1: Tensor, tokens: int, _: int) -> tuple[Tensor, ...]:
    return (table0.new_empty((tokens, table0.shape[1] + table1.shape[1])),)


def _fake_hash(qk: Tensor, mask: Any, rotations: Any, seed: int, chunk: int, before: int,
               after: int, rounds: int, factors: Any) -> tuple[Tensor, ...]:
    b, h, t, _d = qk.shape
    return (qk.new_empty((b, h, rounds, t), dtype=torch.uint16),)


# SymInt: sizes that torch.compile(dynamic=True) does not fix.
full = Operation(
    "full", "Tensor q, Tensor k, Tensor v, Tensor? sinks, Tensor? mask, Tensor? key",
    "bool causal, float scale, float dropout", outputs=2, differentiable=4, fake=_fake_attention)
window = Operation(
    "window", "Tensor q, Tensor k, Tensor v, Tensor? sinks, Tensor? global_q, Tensor? global_k, "
    "Tensor? global_v, Tensor? roles, Tensor? key",
    "SymInt left, SymInt right, bool causal, SymInt[] dilation, float scale, float dropout",
    outputs=2, differentiable=7, fake=_fake_attention)
chunked = Operation(
    "chunked", "Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? key",
    "SymInt chunk, SymInt before, SymInt after, bool causal, float scale, float dropout",
    outputs=2, differentiable=3, fake=_fake_attention)
lsh = Operation(
    "lsh", "Tensor qk, Tensor v, Tensor? mask, Tensor? buckets, Tensor? key",
    "SymInt chunk, SymInt before, SymInt after, SymInt rounds, SymInt[] factors, bool causal, "
    "float dropout", outputs=3, differentiable=2, fake=_fake_lsh)
axial = Operation("axial", "Tensor table0, Tensor table1", "SymInt tokens, SymInt start", outputs=1,
                  differentiable=2, fake=_fake_axial)

_hash_operator = _define(
    "lsh_hash", "(Tensor qk, Tensor? mask, Tensor? rotations, SymInt seed, SymInt chunk, "
    "SymInt before, SymInt after, SymInt rounds, SymInt[] factors)", 1,
    lambda *arguments: (_kernels.lsh_hash(*arguments),), _fake_hash)


def lsh_hash(*arguments: Any) -> Tensor:
    """The buckets of tokens, (B, H, rounds, T) uint16: no gradient goes through them."""
    with torch.no_grad():
        hashes: Tensor = (_hash_operator if is_compiling() else _kernels.lsh_hash)(*arguments)
        return hashes
