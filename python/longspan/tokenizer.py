"""Tokenizers: a text becomes ids that know their place in it, and the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

from ._native import _models, fspath
from ._option_names import speaks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._native import PathLike

    Text = Union[str, bytes]
    TextOrPair = Union[Text, tuple[Text, Text]]


@dataclass
class Encoding:
    """One row of tokens; the names are those of the `tokenizers` package.

    Each list has an element for each token. `offsets` are (start, end) characters of the token's
    text, (0, 0) of special tokens. `sequence_ids` is 0 for the first text, 1 for the second and
    None for special tokens. `dropped` counts the tokens of each text that were cut. Of a text in
    several windows `overflowing` has the others.
    """

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    special_tokens_mask: list[int]
    sequence_ids: list[int | None]
    dropped: tuple[int, int] = (0, 0)
    overflowing: list[Encoding] = field(default_factory=list)
    _tokenizer: Tokenizer | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def attention_mask(self) -> list[int]:
        """1 for each token: rows are not padded."""
        return [1] * len(self.ids)

    @cached_property
    def tokens(self) -> list[str]:
        """Each token as the tokenizer spells it."""
        if self._tokenizer is None:
            raise ValueError("tokens: this encoding was made without a tokenizer")
        return [self._tokenizer.id_to_token(i) for i in self.ids]


class Tokenizer:
    """The tokenizer of a model's folder, or of a folder with a tokenizer alone.

    Any number of threads may use it at once. Nothing is ever cut unless `overflow` says so.
    """

    def __init__(self, path: PathLike) -> None:
        self._inner = _models.Tokenizer.open(fspath("Tokenizer: path", path))

    @classmethod
    def _of(cls, inner: _models.Tokenizer) -> Tokenizer:
        made = cls.__new__(cls)
        made._inner = inner
        return made

    def __repr__(self) -> str:
        return f"<longspan.Tokenizer {self.kind}, {self.vocab_size} ids>"

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def kind(self) -> str:
        """What it is: "bytes", "byte-level BPE", ..."""
        return self._inner.kind

    @property
    def vocab_size(self) -> int:
        """The largest id + 1."""
        return self._inner.vocabulary

    @property
    def model_max_length(self) -> int | None:
        """Tokens of the longest row that the model beside the files takes, if they say so."""
        return self._inner.longest

    @property
    def special_ids(self) -> dict[str, int | None]:
        """Ids of "bos", "eos", "unk", "sep", "pad", "cls" and "mask"; None: it has none."""
        return self._inner.special()

    @property
    def mask_token(self) -> str | None:
        """What stands for a missing word in a text."""
        return self._special_token("mask")

    @property
    def pad_token_id(self) -> int | None:
        """The id that fills rows."""
        return self.special_ids["pad"]

    def _special_token(self, name: str) -> str | None:
        found = self.special_ids[name]
        return None if found is None else self.id_to_token(found)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token in the tokenizer's spelling; None: there is none."""
        return self._inner.id_of(token)

    def id_to_token(self, id: int) -> str:
        """The token in the tokenizer's spelling. FormatError when the id has none."""
        return self._inner.token_of(id)

    @speaks("tokenizer", described="longspan.models.Tokenizer.encode")
    def encode(
        self,
        text: Text,
        pair: Text | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int = 0,
        overflow: str = "error",
        stride: int = 0,
    ) -> Encoding:
        """The row of a text, or of two texts.

        `max_length`: tokens of a row, special ones included; 0: any number. `overflow` says what
        becomes of a longer text: "error" (LimitError), "truncate", "truncate-first" (only the first
        text of a pair), or "window": rows that share `stride` tokens, the later ones in
        `overflowing`. The program's spellings `tokens` (max_length) and `no_special`
        (add_special_tokens=False) are accepted too.
        """
        given: TextOrPair = text if pair is None else (text, pair)
        return self.encode_batch(
            [given],
            add_special_tokens=add_special_tokens,
            max_length=max_length,
            overflow=overflow,
            stride=stride,
        )[0]

    @speaks("tokenizer", described="longspan.models.Tokenizer.encode_batch")
    def encode_batch(
        self,
        texts: Sequence[TextOrPair],
        *,
        add_special_tokens: bool = True,
        max_length: int = 0,
        overflow: str = "error",
        stride: int = 0,
    ) -> list[Encoding]:
        """The row of each text; a tuple of two is a pair. The rows have lengths of their own."""
        if isinstance(texts, (str, bytes)):
            raise TypeError("encode_batch: texts is one text, need a list of them; use encode")
        options: dict[str, Any] = {
            "add_special_tokens": add_special_tokens,
            "max_length": max_length,
            "overflow": overflow,
            "stride": stride,
        }
        made = []
        for rows in self._inner.encode(list(texts), options):
            first, *others = [self._encoding(row) for row in rows]
            first.overflowing = others
            made.append(first)
        return made

    def _encoding(self, row: tuple[Any, ...]) -> Encoding:
        ids, type_ids, offsets, special, sequence, dropped, _first = row
        return Encoding(
            ids,
            type_ids,
            offsets,
            special,
            [None if of < 0 else of for of in sequence],
            dropped,
            _tokenizer=self,
        )

    def decode(self, ids: Sequence[int] | NDArray[Any], *, skip_special_tokens: bool = True) -> str:
        """The text of ids. FormatError for an id without a token, with its place."""
        return self._inner.decode(_ids(ids), skip_special_tokens)

    def decode_batch(
        self, rows: Sequence[Sequence[int] | NDArray[Any]], *, skip_special_tokens: bool = True
    ) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(ids, skip_special_tokens=skip_special_tokens) for ids in rows]


def _ids(ids: Any) -> list[int]:
    flat: Any = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    return flat if isinstance(flat, list) else [flat]
