"""Models of any family: loaded once, asked from any number of threads."""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _folders
from ._answers import Answers
from ._embedding import Embeds
from ._errors import UsageError
from ._model_base import RowOptions
from ._native import _models, fspath, named
from ._option_names import speaks
from ._option_values import parse_bytes
from ._stream import TextStream
from ._writing import GenerateOptions, Writes
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Unpack

    from ._native import PathLike

__all__ = ["GenerateOptions", "Model", "RowOptions", "TextStream", "Tokenizer", "load"]


class LoadOptions(RowOptions, total=False):
    """RowOptions, and the program's spellings of memory_limit and of lm_bias=False."""

    memory: int | str
    no_lm_bias: bool


@speaks("load", RowOptions)
def load(
    path: PathLike,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    memory_limit: int | str | None = None,
    attention: str | None = None,
    num_hashes: int | None = None,
    lm_bias: bool = True,
    strict: bool = False,
    allow_nonfinite: bool = False,
    head: str | None = None,
    **rows: Unpack[LoadOptions],
) -> Model:
    """Loads the model in a folder of the Hugging Face layout. Nothing is downloaded.

    dtype: operands of products: "float32", or "bfloat16" for half the memory traffic. Sums are
        fp32 in both cases.
    threads: of each call; None: those of longspan.get_threads(). A server that answers from many
        threads is fastest with threads=1.
    memory_limit: bytes that a call may take beside the model, or "4G". A call that needs more
        raises LimitError before it begins.
    attention, num_hashes, lm_bias, strict: of Reformers: the attention of all layers ("full",
        "local", "lsh"; None: the config's), rounds of LSH layers, whether the head has its bias,
        whether rows that transformers refuses are refused.
    allow_nonfinite: weights and results may hold NaN and infinity.
    head: FormatError unless the model has this one: "lm", "mlm", "classify", "token-classify",
        "qa", "multiple-choice" or "none".
    rows: defaults of how texts become rows; see RowOptions.

    The program's spellings memory (memory_limit) and no_lm_bias (lm_bias=False) are accepted too.

    FormatError or IoError in one line says what the path is and what to do. Oddities of the files
    that are no errors come as warnings.
    """
    options = named(
        {
            "dtype": dtype,
            "attention": attention,
            "num_hashes": num_hashes,
            "lm_bias": lm_bias,
            "strict": strict,
            "allow_nonfinite": allow_nonfinite,
            "head": head,
        }
    )
    folder = fspath("load: path", path)
    inner, lines = _models.Model.load(folder, options)
    for line in lines:
        warnings.warn(line, RuntimeWarning, stacklevel=3)
    limit = parse_bytes("memory_limit", memory_limit)  # which is a number by now
    return Model(inner, options, rows, threads, limit)


class Model(Embeds, Answers, Writes):
    """A loaded model with its tokenizer. `longspan.load` makes it.

    Nothing changes it but the assignment of `threads` and `memory_limit`. Any number of threads may
    use it at once, and each gets the bits that it would get alone. Ctrl-C ends a call within a
    second. A pickled model is its folder's path: whoever unpickles it loads it again.
    """

    @property
    def info(self) -> dict[str, Any]:
        """What the model is: family, class_name, head, labels, width, vocabulary, longest (tokens
        of a row at most), parameters, path, ..."""
        return {**self._info, "parameters": self._inner.parameters(), "path": self.path}

    @property
    def head(self) -> str:
        """What it is for: "lm", "mlm", "classify", "token-classify", "qa", "multiple-choice" or
        "none"."""
        return str(self._info["head"])

    @property
    def max_seq_length(self) -> int:
        """Tokens of a row at most, special ones included. Longer texts become windows."""
        return self._task({}).longest

    @property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer. FormatError if there is none."""
        return Tokenizer._of(self._inner.tokenizer())

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json."""
        config: dict[str, Any] = _folders.parse_json(self._inner.config())
        return config

    def __repr__(self) -> str:
        return (
            f"<longspan.Model {self._info['class_name']} from {self.path!r}, "
            f"{self._inner.parameters():,} parameters, {self._info['longest']} tokens>"
        )

    def _repr_html_(self) -> str:
        info = self.info
        facts = {
            "class": info["class_name"],
            "folder": info["path"],
            "head": info["head"],
            "parameters": f"{info['parameters']:,}",
            "width": info["width"],
            "tokens of a row": info["longest"],
            "vocabulary": info["vocabulary"],
            "products": self._options.get("dtype", "float32"),
        }
        if info["labels"]:
            facts["labels"] = ", ".join(info["labels"][:20])
        cells = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in facts.items()
        )
        return "<table>" + "".join(cells) + "</table>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self.path, self._options, self._rows, self.threads, self.memory_limit)

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    def save(self, path: PathLike) -> None:
        """Writes config.json and weights into a folder that `load` and transformers open, each file
        whole or not at all, and copies the files of tokenizer and pooling beside them."""
        folder = fspath("save: path", path)
        self._inner.save(folder)
        _folders.copy_companions(self.path, folder)

    # ---- ids ------------------------------------------------------------------------------------

    def hidden(
        self,
        ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        global_attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """The last hidden states of ids (T) or (B, T): (T, width) or (B, T, width), fp32.

        The masks, of the shape of `ids`, are Hugging Face's: 1 for tokens that count, and 1 for
        those that see all others. States of hidden tokens hold any finite values.
        """
        return self._run(
            ids, attention_mask, global_attention_mask, token_type_ids, 1, logits=False
        )

    def logits(
        self,
        ids: ArrayLike | Sequence[Sequence[int]],
        attention_mask: ArrayLike | None = None,
        global_attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        choices: int = 1,
    ) -> Any:
        """The head's logits of ids (B, T): (B, T, vocabulary) of language models, (B, T, labels) of
        token classes, (B, T, 2) for starts and ends of answers, (B, labels) of classifiers, (B /
        choices, choices) of multiple choice. Of ids (T): the same without B.

        Rows of different lengths, without masks, give a list of arrays: each row has the logits
        that it has alone.
        """
        if _ragged(ids):
            if not (attention_mask is global_attention_mask is token_type_ids is None):
                raise UsageError("logits: rows of different lengths take no masks; pad them")
            rows: Any = ids
            return _models.Model.ragged_logits(
                self._inner, [[int(i) for i in row] for row in rows], self._call()
            )
        return self._run(
            ids, attention_mask, global_attention_mask, token_type_ids, choices, logits=True
        )

    def _run(
        self,
        ids: Any,
        attention_mask: Any,
        global_attention_mask: Any,
        token_type_ids: Any,
        choices: int,
        *,
        logits: bool,
    ) -> NDArray[np.float32]:
        rows = _id_array("ids", ids, None)
        flat = rows.ndim == 1

        def other(name: str, mask: Any) -> NDArray[np.int32] | None:
            return None if mask is None else np.atleast_2d(_id_array(name, mask, rows.shape))

        result = self._inner.run(
            np.atleast_2d(rows),
            other("attention_mask", attention_mask),
            other("global_attention_mask", global_attention_mask),
            other("token_type_ids", token_type_ids),
            choices,
            logits,
            self._call(),
        )
        return result[0] if flat else result


def _reload(
    path: str,
    options: dict[str, Any],
    rows: Mapping[str, Any],
    threads: int | None,
    memory_limit: int | None,
) -> Model:
    inner, _ = _models.Model.load(path, options)
    limit = parse_bytes("memory_limit", memory_limit)  # which is a number by now
    return Model(inner, options, rows, threads, limit)


def _ragged(ids: Any) -> bool:
    """Whether these are rows of different lengths."""
    if not isinstance(ids, (list, tuple)) or not ids:
        return False
    lengths = {len(row) if hasattr(row, "__len__") else -1 for row in ids}
    return len(lengths) > 1 and -1 not in lengths


def _id_array(name: str, ids: Any, shape: tuple[int, ...] | None) -> NDArray[np.int32]:
    array = np.asarray(ids)
    if array.dtype == np.bool_:
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has elements of type {array.dtype}, need integers")
    if shape is None and array.ndim not in (1, 2):
        raise UsageError(f"{name} has the shape {array.shape}, need (T,) or (B, T)")
    if shape is not None and array.shape != shape:
        raise UsageError(f"{name} has the shape {array.shape}, the ids have {shape}")
    if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise UsageError(f"{name} has a value that does not fit into 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32)
