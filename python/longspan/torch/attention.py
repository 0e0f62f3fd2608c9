"""The attention functions of longspan.torch: arguments are checked here, then the kernels run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from longspan._arguments import dilations, flag, integer, number
from longspan._errors import DTypeError, UsageError
from longspan.attention.axial import axial_shape
from longspan.attention.lsh import bucket_factors, lsh_shape
from longspan.torch import _autograd, _kernels

_ELEMENTS = (torch.float32, torch.bfloat16)
_NONE: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)


# ---- arguments ----------------------------------------------------------------------------------


def _heads(function: str, name: str, tensor: Any, like: Tensor | None = None) -> Tensor:
    """A (B, H, T, D) of elements that are computed with, whose last axis has no step."""
    if not isinstance(tensor, Tensor):
        raise DTypeError(f"{function}: {name} is a {type(tensor).__name__}, the other arguments are "
                         "tensors of torch; give one kind")
    if tensor.dtype not in _ELEMENTS:
        raise DTypeError(f"{function}: {name} has elements of type {tensor.dtype}; convert it with "
                         ".float() or .bfloat16()")
    if like is not None and tensor.dtype != like.dtype:
        raise DTypeError(f"{function}: {name} has elements of type {tensor.dtype}, q of {like.dtype}; "
                         "give one type")
    if not tensor.is_cpu:
        raise DTypeError(f"{function}: {name} is on the device '{tensor.device}'; move it with .cpu()")
    if tensor.dim() != 4:
        raise UsageError(f"{function}: {name} has shape {tuple(tensor.shape)}, it must have 4 axes: "
                         "(batch, heads, tokens, head size)")
    if tensor.layout != torch.strided:
        raise DTypeError(f"{function}: {name} has the layout {tensor.layout}; make it dense")
    return _kernels.ready(tensor)


def _three(function: str, q: Any, k: Any, v: Any) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v whose shapes fit, also where only a compiler looks at them."""
    if (type(q) is Tensor and type(k) is Tensor and type(v) is Tensor and not is_compiling()
            and q.dim() == k.dim() == v.dim() == 4 and q.stride(3) == 1 and k.stride(3) == 1
            and v.stride(3) == 1):
        return q, k, v  # the usual case; the kernel checks the rest before it runs
    q = _heads(function, "q", q)
    k, v = _heads(function, "k", k, q), _heads(function, "v", v, q)
    if k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[2:] != k.shape[2:]:
        raise UsageError(f"{function}: q is {tuple(q.shape)}, k is {tuple(k.shape)}, v is "
                         f"{tuple(v.shape)}; they must have the same batch, tokens and head size")
    if k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        raise UsageError(f"{function}: the {q.shape[1]} heads of q are no multiple of the "
                         f"{k.shape[1]} heads of k")
    return q, k, v


def _tokens(function: str, name: str, value: Any, q: Tensor, largest: int) -> Tensor | None:
    """A mask or roles, (B, T), as uint8."""
    if value is None:
        return None
    tensor: Tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    if tensor.is_floating_point() or tensor.is_complex():
        raise DTypeError(f"{function}: {name} has elements of type {tensor.dtype}; give bools or "
                         f"integers from 0 to {largest}")
    if not tensor.is_cpu:
        raise DTypeError(f"{function}: {name} is on the device '{tensor.device}'; move it with .cpu()")
    if tuple(tensor.shape) != (q.shape[0], q.shape[2]):
        raise UsageError(f"{function}: {name} is {tuple(tensor.shape)}, it must be (batch, tokens) = "
                         f"{(q.shape[0], q.shape[2])}")
    if tensor.dtype == torch.bool:
        return tensor.contiguous().view(torch.uint8)
    if not is_compiling() and tensor.numel():
        least, most = (int(x) for x in torch.aminmax(tensor))
        if least < 0 or most > largest:
            raise UsageError(f"{function}: {name} holds {least if least < 0 else most}; it must hold "
                             f"0 to {largest}")
    return tensor.to(torch.uint8).contiguous()


def _sinks(function: str, value: Any, q: Tensor) -> Tensor | None:
    if value is None:
        return None
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise DTypeError(f"{function}: sinks must be a tensor of float32, one number for each head")
    if tuple(value.shape) != (q.shape[1],):
        raise UsageError(f"{function}: sinks are {tuple(value.shape)}, they must be (heads) = "
                         f"({q.shape[1]},)")
    return value.float().contiguous()  # autograd sees the conversion of bfloat16


def _scale(function: str, value: Any) -> float:
    return 0.0 if value is None else number(function, "scale", value)


def _dropout(function: str, p: Any, key: Any) -> tuple[float, Tensor | None]:
    """The probability, and the key as a tensor: drawn from torch's generator where none is given."""
    if type(p) is float and p == 0.0:
        return p, None
    share = number(function, "dropout", p)
    if not 0.0 <= share < 1.0:
        raise UsageError(f"{function}: dropout {share} is not from 0 to below 1")
    if share == 0.0:
        return share, None
    if key is None:
        return share, torch.randint(2**63 - 1, (), dtype=torch.int64)
    if isinstance(key, Tensor):
        return share, key
    return share, torch.tensor(integer(function, "dropout_key", key), dtype=torch.int64)


# ---- the functions ------------------------------------------------------------------------------


def full_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False,
                   scale: float | None = None, key_mask: Tensor | None = None,
                   sinks: Tensor | None = None, dropout: float = 0.0,
                   dropout_key: int | Tensor | None = None, return_lse: bool = False) -> Any:
    """Attention in which every query sees every key: softmax(scale * q k^T) v.

    Args:
      q: (B, H, T, D), float32 or bfloat16.
      k, v: (B, H / G, T, D), as q. Key head h serves query heads h G to h G + G - 1.
      causal: a query sees no key after its own position.
      scale: of the scores; None: 1 / sqrt(D).
      key_mask: (B, T) of bools or 0 and 1: False hides a key. A query that sees no key weighs all
        of them equally.
      sinks: (H,): a learned score of one more key with the value 0 for each head, as in gpt-oss.
      dropout: the probability with which a weight becomes 0, from 0 to below 1.
      dropout_key: of its random numbers; None: drawn from torch's generator, so that
        torch.manual_seed decides and checkpoints draw the same again.
      return_lse: return also lse, (B, H, T) float32, the logarithm of the sum of exp(score). It has
        no gradient.

    Returns:
      out (B, H, T, D), of q's type; with return_lse a tuple (out, lse).

    Memory grows with T, time with T squared. Raises DTypeError (a TypeError) and UsageError (a
    ValueError).

    Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
    """
    name = "full_attention"
    q, k, v = _three(name, q, k, v)
    share, key = _dropout(name, dropout, dropout_key)
    out, lse = _autograd.full(q, k, v, _sinks(name, sinks, q),
                              _tokens(name, "key_mask", key_mask, q, 1), key,
                              flag(name, "causal", causal), _scale(name, scale), share)
    return (out, lse) if return_lse else out


def window_attention(q: Tensor, k: Tensor, v: Tensor, *, left: int = 256, right: int = 256,
                     causal: bool = False, dilation: int | Sequence[int] = 1,
                     roles: Tensor | None = None,
                     global_qkv: tuple[Tensor, Tensor, Tensor] | None = None,
                     scale: float | None = None, key_mask: Tensor | None = None,
                     sinks: Tensor | None = None, dropout: float = 0.0,
                     dropout_key: int | Tensor | None = None, return_lse: bool = False) -> Any:
    """Sliding-window attention, with global tokens: Longformer's.

    Query i sees the keys i - left to i + right (with a dilation d: every d-th of them, left and
    right counting steps), itself always among them, and every global key. A global token sees all
    keys. Hidden tokens are not seen, and get 0.

    Args:
      q: (B, H, T, D), float32 or bfloat16.
      k, v: (B, H / G, T, D), as q. Key head h serves query heads h G to h G + G - 1.
      left, right: keys before and after its own position that a query sees, at least 0.
      causal: no query sees a key after its own position: right counts as 0.
      dilation: steps between the keys of a window, at least 1; one number, or one for each head.
      roles: (B, T) of integers: longspan.HIDDEN 0, longspan.LOCAL 1, longspan.GLOBAL 2. None: all
        are local.
      global_qkv: the projections that belong to global tokens: (queries (B, H, N, D), where row n is
        that of the n-th global token of its batch row and N the most that a row has; keys
        (B, H, T, D); values (B, H, T, D)). None: global tokens use q, k, v.
      key_mask: (B, T) of bools or 0 and 1: False makes a token hidden.
      sinks: (H,): as in ``full_attention``. Not with global tokens.
      scale, dropout, dropout_key, return_lse: as in ``full_attention``.

    Returns:
      out (B, H, T, D), of q's type; with return_lse a tuple (out, lse).

    Time and memory grow with T (left + right), global tokens add T each. Under torch.compile whether
    roles name global tokens is decided by whether global_qkv is given. Raises DTypeError (a
    TypeError) and UsageError (a ValueError).

    Source: Beltagy, Peters, Cohan 2020, "Longformer: The Long-Document Transformer", section 3.
    """
    name = "window_attention"
    q, k, v = _three(name, q, k, v)
    share, key = _dropout(name, dropout, dropout_key)
    tokens = None if roles is None else _tokens(name, "roles", roles, q, 2)
    if key_mask is not None:
        mask = _tokens(name, "key_mask", key_mask, q, 1)
        tokens = mask if tokens is None or mask is None else tokens * mask
    given = _NONE
    if roles is not None or global_qkv is not None:
        given = _global_rows(name, q, k, v, tokens if roles is not None else None, global_qkv)
    if given[0] is not None and sinks is not None:
        raise UsageError(f"{name}: sinks together with global tokens are not defined; leave one of "
                         "them out")
    sink = None if sinks is None else _sinks(name, sinks, q)
    out, lse = _autograd.window(q, k, v, sink, *given, tokens, key,
                                integer(name, "left", left), integer(name, "right", right),
                                flag(name, "causal", causal),
                                dilations(name, dilation, q.shape[1]),
                                0.0 if scale is None else _scale(name, scale), share)
    return (out, lse) if return_lse else out


def _global_rows(name: str, q: Tensor, k: Tensor, v: Tensor, roles: Tensor | None,
                 given: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Queries, keys and values of the global tokens; Nones where there is none."""
    if given is not None:
        if not isinstance(given, (tuple, list)) or len(given) != 3:
            raise DTypeError(f"{name}: global_qkv must be three tensors: queries, keys, values")
        if roles is None:
            raise UsageError(f"{name}: global_qkv is given, but roles name no global token")
        gq, gk, gv = (_heads(name, f"global_{part}", tensor, q)
                      for part, tensor in zip("qkv", given))
        if not is_compiling() and not bool((roles == 2).any()):
            return None, None, None
        return gq, gk, gv
    if roles is None or is_compiling():
        if roles is not None:
            raise UsageError(f"{name}: under torch.compile roles need global_qkv, or leave both out")
        return None, None, None
    is_global = roles == 2
    count = is_global.sum(1)
    most = int(count.max()) if count.numel() else 0
    if most == 0:
        return None, None, None
    # The places of each row's global tokens; rows with fewer repeat some token, to no effect.
    order = torch.argsort(is_global.to(torch.uint8), dim=1, descending=True, stable=True)[:, :most]
    b, h, _t, d = q.shape
    gq = q.gather(2, order[:, None, :, None].expand(b, h, most, d))
    groups = h // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    return gq, k, v


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, *, chunk: int = 64, before: int = 1,
                      after: int = 0, causal: bool = False, scale: float | None = None,
                      key_mask: Tensor | None = None, dropout: float = 0.0,
                      dropout_key: int | Tensor | None = None, return_lse: bool = False) -> Any:
    """Chunked local attention: that of Reformer's local layers.

    Tokens are cut into chunks; a query sees the keys of its own chunk, of ``before`` chunks before
    it and of ``after`` chunks after it. The first chunk's predecessor is the last: chunks wrap
    around. T <= chunk is attention over all keys.

    Args:
      q, k, v: (B, H, T, D), float32 or bfloat16, any T.
      chunk: tokens of a chunk, at least 1.
      before, after: chunks around its own that a query sees, at least 0.
      causal, scale, key_mask, dropout, dropout_key, return_lse: as in ``full_attention``.

    Returns:
      out (B, H, T, D), of q's type; with return_lse a tuple (out, lse). Raises DTypeError and
      UsageError.

    Source: Kitaev, Kaiser, Levskaya 2020, "Reformer: The Efficient Transformer", section 2.
    """
    name = "chunked_attention"
    q, k, v = _three(name, q, k, v)
    _same_heads(name, q, k)
    share, key = _dropout(name, dropout, dropout_key)
    out, lse = _autograd.chunked(q, k, v, _tokens(name, "key_mask", key_mask, q, 1), key,
                                 integer(name, "chunk", chunk, 1),
                                 integer(name, "before", before), integer(name, "after", after),
                                 flag(name, "causal", causal), _scale(name, scale), share)
    return (out, lse) if return_lse else out


def lsh_attention(qk: Tensor, v: Tensor, *, chunk: int = 64, before: int = 1, after: int = 0,
                  rounds: int = 1, num_buckets: int | Sequence[int] | None = None,
                  causal: bool = False, key_mask: Tensor | None = None, seed: int = 0,
                  rotations: Tensor | None = None, buckets: Tensor | None = None,
                  dropout: float = 0.0, dropout_key: int | Tensor | None = None,
                  return_lse: bool = False, return_buckets: bool = False) -> Any:
    """LSH attention: that of Reformer's hashing layers; ``longspan.lsh_attention`` tells more.

    Args:
      qk: (B, H, T, D), float32 or bfloat16: queries and, scaled to one length, keys.
      v: (B, H, T, D), as qk.
      chunk, before, after, rounds, num_buckets, causal, key_mask: as in ``longspan.lsh_attention``.
      seed: of the rotations: those of torch.manual_seed(seed); torch.randn(H, D, rounds, columns).
      rotations: (H, D, rounds, columns) float32 instead.
      buckets: (B, H, rounds, T) uint16, what return_buckets gave: nothing is hashed then.
      dropout, dropout_key: as in ``full_attention``.
      return_lse, return_buckets: return a tuple with lse (B, H, T), the buckets, or both.

    Returns:
      out (B, H, T, D), of qk's type. The gradient does not go through the choice of buckets. Raises
      DTypeError, UsageError and LimitError.

    Source: Kitaev, Kaiser, Levskaya 2020, "Reformer: The Efficient Transformer", section 2.
    """
    name = "lsh_attention"
    qk, v, _ = _three(name, qk, v, v)
    _same_heads(name, qk, v)
    share, key = _dropout(name, dropout, dropout_key)
    mask = _tokens(name, "key_mask", key_mask, qk, 1)
    shape = lsh_shape(name, chunk, before, after, rounds)
    tokens = qk.shape[2]
    # The default depends on the tokens, which a compiler may not know yet: the kernels find it.
    factors = [] if num_buckets is None else bucket_factors(name, num_buckets, tokens, shape[0])
    if tokens <= shape[0]:
        buckets = None
    elif buckets is None:
        buckets = _autograd.lsh_hash(qk, mask, rotations, integer(name, "seed", seed), *shape,
                                     factors)
    out, most, total = _autograd.lsh(qk, v, mask, buckets, key, *shape, factors,
                                     flag(name, "causal", causal), share)
    result: tuple[Any, ...] = (out,)
    if return_lse:
        result += (most + torch.log(total),)
    if return_buckets:
        result += (buckets,)
    return result if len(result) > 1 else out


def axial_positions(table0: Tensor, table1: Tensor, tokens: int | None = None, *,
                    start: int = 0) -> Tensor:
    """Axial positional encodings: vectors of positions from two small tables.

    Position p of a grid of S0 rows and S1 columns has the vector
    ``cat(table0[p // S1], table1[p % S1])``.

    Args:
      table0: (S0, D0) float32, of the grid's rows.
      table1: (S1, D1) float32, of its columns.
      tokens: how many positions; None: all from ``start`` to S0 S1.
      start: the first position.

    Returns:
      (tokens, D0 + D1) float32. Raises UsageError if start + tokens exceeds S0 S1, and DTypeError.
    """
    name = "axial_positions"
    for place, table in (("table0", table0), ("table1", table1)):
        if not isinstance(table, Tensor) or table.dtype != torch.float32 or not table.is_cpu:
            raise DTypeError(f"{name}: {place} must be a tensor of float32 on the CPU")
    count, _width, first = axial_shape(name, table0.shape, table1.shape, tokens, start)
    result: Tensor = _autograd.axial(_kernels.ready(table0), _kernels.ready(table1), count, first)[0]
    return result


def _same_heads(name: str, q: Tensor, k: Tensor) -> None:
    if q.shape[1] != k.shape[1]:
        raise UsageError(f"{name}: q has {q.shape[1]} heads, k has {k.shape[1]}; here both must have "
                         "the same number")
