"""Vectors of texts: the part of `Model` that sentence-transformers has, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from . import _vectors
from ._errors import UsageError
from ._model_base import ModelBase, RowOptions, Text, many, remember
from ._native import _models
from ._option_names import speaks
from ._progress import Bar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Unpack


class Embeds(ModelBase):
    """encode() and what belongs to it."""

    @overload
    def encode(
        self,
        inputs: Text | Sequence[Text] | NDArray[Any],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        output_value: str = ...,
        precision: str = ...,
        convert_to_numpy: Literal[True] = ...,
        convert_to_tensor: Literal[False] = ...,
        device: str | None = ...,
        normalize_embeddings: bool = ...,
        truncate_dim: int | None = ...,
        *,
        pooling: str | None = ...,
        ranges: ArrayLike | None = ...,
        **rows: Unpack[RowOptions],
    ) -> NDArray[Any]: ...
    @overload
    def encode(
        self,
        inputs: Text | Sequence[Text] | NDArray[Any],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        output_value: str = ...,
        precision: str = ...,
        convert_to_numpy: bool = ...,
        convert_to_tensor: bool = ...,
        device: str | None = ...,
        normalize_embeddings: bool = ...,
        truncate_dim: int | None = ...,
        *,
        pooling: str | None = ...,
        ranges: ArrayLike | None = ...,
        **rows: Unpack[RowOptions],
    ) -> Any: ...
    @speaks("encode", RowOptions, "longspan.models.RowOptions")
    def encode(
        self,
        inputs: Text | Sequence[Text] | NDArray[Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        pooling: str | None = None,
        ranges: ArrayLike | None = None,
        **rows: Unpack[RowOptions],
    ) -> Any:
        """Vectors of texts: (D,) of a str, (N, D) of a list, fp32 arrays of NumPy.

        Arguments and names are those of `SentenceTransformer.encode`. The folder's modules.json
        says how tokens become a vector, else it is their mean. Every token of a long text counts:
        it is read in windows.

        prompt_name, prompt: what stands before every text: a prompt of the folder, or a text. None:
            the folder's default prompt.
        batch_size: texts that run together at most. None: as many as fit into batch_tokens, which
            is faster. The vectors are the same.
        show_progress_bar: of tqdm where that is installed, else plain text on stderr; None: if
            stderr is a terminal, and in a notebook.
        output_value: "sentence_embedding", or "token_embeddings": of each text the last hidden
            states of its tokens, (tokens, width), special ones and the prompt included; a list of
            them of a list. A text in several windows has each of its tokens once, and the special
            ones of each window.
        precision: "float32"; "int8" and "uint8": which of 256 steps between the least and the
            largest number of its channel; "binary" and "ubinary": a bit for each channel.
        ranges: (2, D) of int8 and uint8: the least and the largest numbers, by which vectors of
            different calls can be compared. None: those of the vectors themselves, at least two;
            fewer than 100 warn, as a channel's range is not known from so few.
        convert_to_tensor: a tensor of torch. convert_to_numpy=False: a list of tensors.
        normalize_embeddings: vectors of length 1; False: as the folder says.
        truncate_dim: the first so many channels.
        pooling: "cls", "mean", "max", "mean-sqrt-len", "weighted-mean" or "last-token".

            model = longspan.load("long")
            texts = ["Anne walked.", "It rained.", "She was glad."]
            vectors = model.encode(texts)  # (3, width)
            ranges = [vectors.min(0), vectors.max(0)]
            small = model.encode("Who walked?", precision="int8", ranges=ranges)  # (width,) of int8
            tokens = model.encode(texts, output_value="token_embeddings")  # 3 of (tokens, width)
        """
        if device not in (None, "cpu"):
            raise UsageError(f"device is {device!r}, need 'cpu' or None")
        _vectors.check_precision(precision)
        texts, single = many("inputs", inputs)
        if output_value == "token_embeddings":
            if pooling or truncate_dim or normalize_embeddings or precision != "float32":
                raise UsageError(
                    "output_value 'token_embeddings' has fp32 vectors as the model gives them: no "
                    "pooling, truncate_dim, normalize_embeddings or precision"
                )
            embedder = self._embedder(None, None, prompt, prompt_name, rows)
            of_texts = self._embed_tokens(embedder, texts, batch_size, show_progress_bar)
            if convert_to_tensor or not convert_to_numpy:
                of_texts = [_tensor(vectors) for vectors in of_texts]
            return of_texts[0] if single else of_texts
        if output_value != "sentence_embedding":
            raise UsageError(
                f"output_value is {output_value!r}, need 'sentence_embedding' or 'token_embeddings'"
            )
        in_model = normalize_embeddings and truncate_dim is None
        embedder = self._embedder(pooling, in_model or None, prompt, prompt_name, rows)
        vectors = self._embed(embedder, texts, batch_size, show_progress_bar)
        vectors = _vectors.cut(vectors, truncate_dim)
        if normalize_embeddings and not in_model:
            vectors = _vectors.unit(vectors)
        packed = _vectors.quantize(vectors, precision, ranges, frames=2)
        result: Any = packed[0] if single else packed
        if convert_to_tensor or not convert_to_numpy:
            result = _tensor(result)
            return result if convert_to_tensor or single else list(result)
        return result

    def encode_query(self, inputs: Text | Sequence[Text], **options: Any) -> Any:
        """encode() with the folder's prompt "query", if it has one."""
        return self.encode(inputs, **self._with_prompt(("query",), options))

    def encode_document(self, inputs: Text | Sequence[Text], **options: Any) -> Any:
        """encode() with the folder's prompt "document", "passage" or "corpus", if it has one."""
        return self.encode(inputs, **self._with_prompt(("document", "passage", "corpus"), options))

    @property
    def prompts(self) -> dict[str, str]:
        """The folder's prompts by name."""
        return dict(self._sentences.get("prompts") or {})

    @property
    def similarity_fn_name(self) -> str:
        """How similarity() compares: "cosine" unless the folder says another."""
        name = self._sentences.get("similarity_fn_name") or "cosine"
        if name not in _vectors.SIMILARITIES:
            raise UsageError(
                f"{self.path}: similarity_fn_name is {name!r}, need one of "
                f"{', '.join(_vectors.SIMILARITIES)}"
            )
        return str(name)

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """(N, M): how similar vectors (N, D) are to vectors (M, D). More is nearer."""
        return _vectors.similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(
        self, embeddings1: ArrayLike, embeddings2: ArrayLike
    ) -> NDArray[np.float32]:
        """(N): how similar vectors (N, D) are to others (N, D), row by row."""
        return _vectors.similarity_pairwise(self.similarity_fn_name, embeddings1, embeddings2)

    def get_embedding_dimension(self) -> int:
        """Channels of encode()'s vectors."""
        return self._embedder(None, None, None, None, {}).width

    get_sentence_embedding_dimension = get_embedding_dimension

    def _with_prompt(self, names: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
        if options.get("prompt") is not None or options.get("prompt_name") is not None:
            return options
        found = next((name for name in names if name in self.prompts), None)
        return options if found is None else {**options, "prompt_name": found}

    def _embed(
        self,
        embedder: _models.Embedder,
        texts: list[Text],
        batch_size: int | None,
        show: bool | None,
    ) -> NDArray[np.float32]:
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, need at least 1, or None")
        if not texts:
            return np.empty((0, embedder.width), np.float32)
        if batch_size is None or batch_size >= len(texts):
            with Bar(show, "tokens", "encode") as bar:
                return embedder.embed(texts, self._call(bar.update if bar.shown else None))
        # Texts of like length run together, so that there is little padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), embedder.width), np.float32)
        with Bar(show, "texts", "encode") as bar:
            for at in range(0, len(order), batch_size):
                some = order[at : at + batch_size]
                vectors[some] = embedder.embed([texts[i] for i in some], self._call())
                bar.update(at + len(some), len(texts))
        return vectors

    def _embed_tokens(
        self,
        embedder: _models.Embedder,
        texts: list[Text],
        batch_size: int | None,
        show: bool | None,
    ) -> list[Any]:
        """Of each text (tokens, width)."""
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, need at least 1, or None")
        step = batch_size or max(len(texts), 1)
        vectors: list[Any] = []
        with Bar(show, "texts", "encode") as bar:
            for at in range(0, len(texts), step):
                vectors += embedder.embed_tokens(texts[at : at + step], self._call())
                bar.update(len(vectors), len(texts))
        return vectors

    def _embedder(
        self,
        pooling: str | None,
        normalize: bool | None,
        prompt: str | None,
        prompt_name: str | None,
        rows: Mapping[str, Any],
    ) -> _models.Embedder:
        key = (pooling, normalize, prompt, prompt_name, tuple(sorted(rows.items())))
        embedder = self._embedders.get(key)
        if embedder is None:
            options = {
                "pooling": pooling,
                "normalize": normalize,
                "prompt": prompt,
                "prompt_name": prompt_name,
            }
            embedder = _models.Embedder.make(self._task(rows), options)
            remember(self._embedders, key, embedder)
        return embedder


def _tensor(array: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(array)


def quantize_embeddings(
    embeddings: ArrayLike,
    precision: str = "int8",
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[Any]:
    """Vectors (N, D), fp32, with fewer bits: "int8", "uint8", "binary" or "ubinary", as encode()
    makes them, with the argument names of sentence-transformers.

    ranges: (2, D) of int8 and uint8. calibration_embeddings: vectors whose least and largest
        numbers these are, instead. Neither: those of `embeddings`, with a RuntimeWarning if there
        are fewer than 100 of them.
    """
    vectors = _vectors.fp32_rows("embeddings", embeddings)
    if calibration_embeddings is not None:
        if ranges is not None:
            raise UsageError("quantize_embeddings: give ranges or calibration_embeddings, not both")
        ranges = _models.ranges_of(
            _vectors.fp32_rows("calibration_embeddings", calibration_embeddings)
        )
    return _vectors.quantize(vectors, precision, ranges)
