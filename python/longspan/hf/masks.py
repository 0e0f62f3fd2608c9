"""What transformers' masks say, as windows: ``band`` and the object that layers get as their mask.

transformers describes a mask as a function of (batch row, head, query, key), a tree of closures,
and builds the (B, 1, T, T) tensor of it. ``band`` reads the tree instead. Whatever it does not know
for certain is None, and then the tensor is built after all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch
from torch import Tensor

masking: Any = importlib.import_module("transformers.masking_utils")

ALL = sys.maxsize  # a side of a window that has no end

Band = tuple[int, int]
_Reader = Callable[[dict[str, Any]], Band]


# ---- closures -----------------------------------------------------------------------------------


def _made_by(name: str, *arguments: Any) -> CodeType | None:
    """The code of the closures that a function of transformers returns."""
    factory = getattr(masking, name, None)
    code: CodeType | None = None if factory is None else factory(*arguments).__code__
    return code


def _free(function: Any) -> dict[str, Any]:
    """The variables that a closure has caught."""
    cells = function.__closure__ or ()
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in cells)))


def _t5gemma2(free: dict[str, Any]) -> Band:
    """The window of T5Gemma2's encoder, and those of encoders of speech, which name both sides."""
    window = free["sliding_window"]
    if isinstance(window, tuple):
        left, right = window
    elif free["is_causal"]:
        left, right = window, 0
    else:
        left, right = (window + 1) // 2, window // 2 + 1
    return left - 1, max(right - 1, 0)


_AND = _made_by("and_masks", masking.causal_mask_function)
_OR = _made_by("or_masks", masking.causal_mask_function)
_REMAPPED = _made_by("remap_positions_for_packed_sequence", masking.causal_mask_function, None)
_PACKED = _made_by("packed_sequence_mask_function", None)

_BY_CODE: dict[CodeType | None, _Reader] = {
    _made_by("sliding_window_overlay", 1): lambda free: (free["sliding_window"] - 1, ALL),
    _made_by("sliding_window_bidirectional_overlay", 1): lambda free: (free["sliding_window"],) * 2,
}
# Closures that models define, some in several files.
_BY_NAME: dict[str, _Reader] = {
    "_bidirectional_window_overlay.<locals>.inner_mask":
        lambda free: (free["sliding_window"] - 1,) * 2,
    "sliding_window_mask_function.<locals>.inner_mask": _t5gemma2,
}
# Gemma 3 with use_bidirectional_attention joins this to its causal mask.
_everything = lambda *args: torch.tensor(True, dtype=torch.bool)  # noqa: E731


def band(function: Any) -> Band | None:
    """The window (left, right) of a mask function, in tokens before and after the query's own.

    ``ALL`` stands for no end. None: not a window, or one that is not known for certain.
    """
    if function is masking.causal_mask_function:
        return ALL, 0
    if function is masking.bidirectional_mask_function:
        return ALL, ALL
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    if code is _AND or code is _OR:
        parts = [band(part) for part in _free(function)["mask_functions"]]
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        # Each window holds its own token, so what they share and what they join are windows too.
        choose = min if code is _AND else max
        return choose(left for left, _ in known), choose(right for _, right in known)
    if _same_code(code, _everything.__code__) and function.__globals__.get("torch") is torch:
        return ALL, ALL
    return _leaf(function, code)


def packed_band(function: Any) -> tuple[Band, Tensor] | None:
    """The window and the numbers of the documents (B, T) where rows hold several documents."""
    if getattr(function, "__code__", None) is not _AND:
        return None
    parts = _free(function)["mask_functions"]
    codes = [getattr(part, "__code__", None) for part in parts]
    if None in codes or codes != [_REMAPPED, _PACKED]:
        return None
    found = band(_free(parts[0])["mask_function"])
    numbers = _free(parts[1])["packed_sequence_mask"]
    return None if found is None or not isinstance(numbers, Tensor) else (found, numbers)


def _same_code(one: CodeType, other: CodeType) -> bool:
    return ((one.co_code, one.co_names, one.co_consts, one.co_freevars)
            == (other.co_code, other.co_names, other.co_consts, other.co_freevars))


_verified: dict[Any, Band | None] = {}


def _leaf(function: Any, code: CodeType) -> Band | None:
    reader = _BY_CODE.get(code) or _BY_NAME.get(getattr(function, "__qualname__", ""))
    if reader is None:
        return None
    free = _free(function)
    try:
        known = (code, tuple(free.items()))
        if known not in _verified:
            found = reader(free)
            _verified[known] = found if _holds(function, found) else None
        return _verified[known]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        return None  # a release of transformers has changed it


def _holds(function: Any, found: Band) -> bool:
    """Whether the function is that window, asked at all offsets around two queries."""
    left, right = found
    if left < 0 or right < 0:
        return False
    before, after = min(left, 1 << 16), min(right, 1 << 16)
    zero = torch.zeros((), dtype=torch.int64, device="cpu")
    for query in (before + 3, before + 4):
        keys = torch.arange(query + after + 4, device="cpu")
        offsets = keys - query
        wanted = (offsets >= -left) & (offsets <= right)
        if not torch.equal(function(zero, zero, zero + query, keys), wanted):
            return False
    return True


# ---- the mask of a forward pass -----------------------------------------------------------------


class WindowMask:
    """What a layer gets as its attention mask: a window, padding, documents.

    It is no tensor. Code of a model that uses it as one (adds it, slices it, asks for its shape)
    gets the float mask (B, 1, T, T) that ``attn_implementation="eager"`` would have, built then.

    Attributes:
      left, right: the window, ``ALL`` for no end.
      key_mask: (B, keys) of bools, False where tokens are padding; None: nothing is.
      documents: for each row the lengths of the documents in it; None: rows are one document.
      reason: why layers cannot use the window; None: they can.
      queries, keys: the lengths that the mask is for.
    """

    def __init__(self, arguments: dict[str, Any], window: Band = (ALL, ALL),
                 key_mask: Tensor | None = None, documents: list[list[int]] | None = None,
                 reason: str | None = None) -> None:
        self.left, self.right = window
        self.key_mask, self.documents, self.reason = key_mask, documents, reason
        self.queries, self.keys = int(arguments["q_length"]), int(arguments["kv_length"])
        self._arguments = arguments
        self._built: dict[str, Any] = {}

    def boolean(self) -> Tensor | None:
        """The mask of ``attn_implementation="sdpa"``: (B, 1, queries, keys) bools, or None."""
        return self._build("sdpa_mask")

    def additive(self) -> Tensor:
        """The float mask (B, 1, queries, keys): 0 where a key is seen, else the lowest number."""
        mask = self._build("eager_mask", allow_is_bidirectional_skip=False)
        assert mask is not None
        return mask

    def _build(self, builder: str, **changes: Any) -> Tensor | None:
        if builder not in self._built:
            self._built[builder] = getattr(masking, builder)(**{**self._arguments, **changes})
        result: Tensor | None = self._built[builder]
        return result

    # ---- as a tensor ----

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        return function(*_tensors(args), **_tensors(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a copy, a pickle: they look for what is not there
            raise AttributeError(f"WindowMask has no attribute {name!r}")
        return getattr(self.additive(), name)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Itself where it is to be moved to the CPU, else the moved float mask."""
        target = kwargs.get("device", args[0] if args else None)
        if not isinstance(target, torch.dtype) and len(args) < 2 and "dtype" not in kwargs:
            if target is None or isinstance(target, str) and torch.device(target).type == "cpu":
                return self
            if isinstance(target, torch.device) and target.type == "cpu":
                return self
        return self.additive().to(*args, **kwargs)

    def __getitem__(self, index: Any) -> Any:
        # Many models cut the mask to the length of their keys, which it has.
        whole = (ALL, ALL, self.queries, self.keys)
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) <= 4 and all(isinstance(part, slice) and part.start in (None, 0)
                                   and part.step in (None, 1)
                                   and (part.stop is None or part.stop >= size)
                                   for part, size in zip(parts, whole)):
            return self
        return self.additive()[index]

    def __add__(self, other: Any) -> Any:
        return self.additive() + other

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        return self.additive() * other

    __rmul__ = __mul__

    def __repr__(self) -> str:
        what = self.reason or f"left={_side(self.left)}, right={_side(self.right)}"
        return f"WindowMask({what}, queries={self.queries}, keys={self.keys})"


def _side(tokens: int) -> str:
    return "all" if tokens >= ALL else str(tokens)


def _tensors(value: Any) -> Any:
    if isinstance(value, WindowMask):
        return value.additive()
    if isinstance(value, (tuple, list)):
        return type(value)(_tensors(part) for part in value)
    if isinstance(value, dict):
        return {name: _tensors(part) for name, part in value.items()}
    return value


# ---- the function that transformers calls -------------------------------------------------------


def make_mask(**arguments: Any) -> Any:
    """The mask function behind ``attn_implementation="longspan"``: a WindowMask or a tensor.

    transformers calls it once a forward pass for each kind of layer, with keywords:
    batch_size, q_length, kv_length, q_offset, kv_offset, mask_function, attention_mask and others.
    """
    padding = arguments.get("attention_mask")
    if isinstance(padding, WindowMask):
        return padding  # generate() has made it before
    own_code = has_own_attention(arguments.get("config"))
    if own_code or _is_sliced(arguments):
        return masking.eager_mask(**{**arguments, "allow_is_bidirectional_skip": False})
    function = arguments.get("mask_function", masking.causal_mask_function)
    window, documents = band(function), None
    if window is None:
        packed = packed_band(function)
        if packed is None:
            return WindowMask(arguments, reason="a mask that is no window")
        window, documents = packed[0], lengths_of_documents(packed[1])
    if (reason := _lengths(arguments, window)) is not None:
        return WindowMask(arguments, window, reason=reason)
    if padding is None:
        return WindowMask(arguments, window, documents=documents)
    if padding.dim() != 2:
        return WindowMask(arguments, reason="a padding mask that is not (batch, tokens)")
    start, keys = int(arguments.get("kv_offset", 0)), arguments["kv_length"]
    seen = masking.prepare_padding_mask(padding, keys, start)[:, start:start + keys].bool()
    return WindowMask(arguments, window, key_mask=None if bool(seen.all()) else seen)


def lengths_of_documents(numbers: Tensor) -> list[list[int]]:
    """For each row of (B, T) the lengths of its runs of equal numbers."""
    return [torch.unique_consecutive(row, return_counts=True)[1].tolist() for row in numbers]


def _lengths(arguments: dict[str, Any], window: Band) -> str | None:
    """Why a window cannot be used for these lengths, or None."""
    queries, keys = arguments["q_length"], arguments["kv_length"]
    if int(arguments.get("q_offset", 0)) == int(arguments.get("kv_offset", 0)):
        # The keys that a static cache has not filled come after all queries.
        if queries == keys or queries < keys and window[1] == 0 and queries > 1:
            return None
    return DECODING


DECODING = "queries and keys of different lengths: steps with a cache, or cross-attention"


def _is_sliced(arguments: dict[str, Any]) -> bool:
    """Whether the model wants a tensor, because it slices or joins the mask itself.

    It says so by allowing no mask to be left out. Functions that are joined to the mask (use_vmap)
    and packed rows forbid that too.
    """
    if arguments.get("allow_is_causal_skip", True) or arguments.get("use_vmap", False):
        return False
    if arguments.get("allow_is_bidirectional_skip", False) or arguments["q_length"] == 1:
        return False
    return band(arguments.get("mask_function")) is not None


_own_attention: dict[type, bool] = {}


def has_own_attention(config: Any) -> bool:
    """Whether the model of a config computes attention without asking for an implementation."""
    kind = type(config)
    if kind not in _own_attention:
        module = sys.modules.get(kind.__module__.replace("configuration_", "modeling_"))
        if config is None or module is None or module.__name__ == kind.__module__:
            return False
        _own_attention[kind] = not hasattr(module, "ALL_ATTENTION_FUNCTIONS")
    return _own_attention[kind]
