"""Attention of torch tensors on CPUs, with autograd: the functions of ``longspan`` for PyTorch.

Tensors are (B, H, T, D) on the CPU, float32 or bfloat16, in any layout whose last axis has no step:
what ``view`` and ``transpose(1, 2)`` make of a projection is used as it is. Results lie in memory as
(B, T, H, D), so that ``out.transpose(1, 2).reshape(B, T, H * D)`` costs nothing.

Every function works under ``torch.compile(fullgraph=True)``, static and dynamic, where it is an
operator of the library ``longspan`` (``torch.ops.longspan``). Gradients have the type of their
tensors and are summed in float32. There is no second derivative: asking for one is an error.
"""

from longspan.torch.attention import (axial_positions, chunked_attention, full_attention,
                                      lsh_attention, window_attention)

__all__ = ["axial_positions", "chunked_attention", "full_attention", "lsh_attention",
           "window_attention"]
