"""Attention of NumPy arrays, and its gradients.

Arrays are (B, H, T, D): batch, heads, tokens, head size; float32, or bfloat16 of the package
ml_dtypes. k and v may have fewer heads than q: H / G, each for G neighbouring heads of q. Nothing is
copied unless the last axis of an array has a step or some step is negative. Inputs that hold NaN
give NaN; what a mask hides may hold anything.

The functions that end in ``_vjp`` return ``(out, pullback)``. ``pullback(dout)`` gives the gradients
of q, k and v for the gradient ``dout`` of ``out``, in float32.

Tensors of torch are handed to longspan.torch, which knows about autograd.
"""

from longspan.attention.axial import axial_positions, axial_positions_vjp
from longspan.attention.chunked import chunked_attention, chunked_attention_vjp
from longspan.attention.full import full_attention, full_attention_vjp
from longspan.attention.lsh import lsh_attention, lsh_attention_vjp
from longspan.attention.window import window_attention, window_attention_vjp

__all__ = [
    "axial_positions", "axial_positions_vjp", "chunked_attention", "chunked_attention_vjp",
    "full_attention", "full_attention_vjp", "lsh_attention", "lsh_attention_vjp",
    "window_attention", "window_attention_vjp",
]
