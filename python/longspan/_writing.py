"""Texts that a language model goes on with."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from ._errors import UsageError
from ._model_base import ModelBase, Text, many, text_of
from ._native import _models, named
from ._option_names import speaks
from ._stream import TextStream
from .results import Generation

if TYPE_CHECKING:
    from typing_extensions import Unpack


class GenerateOptions(TypedDict, total=False):
    """How texts are continued.

    tokens: to write at most, 200 by default.
    temperature: 0.8; 0 always takes the most likely token. top_k: only the k most likely; 0: all.
    top_p: only the most likely that together reach p; 1. seed: of the draws; 1.
    repetition_penalty: above 1, what the text already has becomes less likely; 1.
    stop: a string, or several, before which a text ends; it is no part of it.
    context: tokens that are looked back on; 0: all positions of the model.
    cache: False runs the whole text for every token. batch: prompts that run side by side; 8.
    beams: a beam search over so many, instead of drawing; the Generation's `beams` has all.
    length_penalty: exponent of the length by which the score of a beam is divided; 1.
    temp, no_cache: the program's spellings of temperature and cache=False.
    """

    tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    repetition_penalty: float
    stop: str | Sequence[str]
    context: int
    cache: bool
    batch: int
    beams: int | None
    length_penalty: float
    temp: float
    no_cache: bool


def _checked(options: Any) -> dict[str, Any]:
    """The options that were given, by name."""
    given = named(dict(options))
    if "stop" in given:
        stop = given["stop"]
        given["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return given


class Writes(ModelBase):
    """generate()."""

    @overload
    def generate(
        self, prompt: Text, *, stream: Literal[True], **options: Unpack[GenerateOptions]
    ) -> TextStream: ...
    @overload
    def generate(
        self,
        prompt: Text,
        *,
        stream: Literal[False] = ...,
        on_text: Callable[[str], Any] | None = ...,
        **options: Unpack[GenerateOptions],
    ) -> Generation: ...
    @overload
    def generate(
        self,
        prompt: list[str] | list[bytes],
        *,
        stream: Literal[False] = ...,
        on_text: Callable[[int, str], Any] | None = ...,
        **options: Unpack[GenerateOptions],
    ) -> list[Generation]: ...
    @speaks("generate", GenerateOptions, "longspan.models.GenerateOptions")
    def generate(
        self,
        prompt: Any,
        *,
        stream: bool = False,
        on_text: Callable[..., Any] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Any:
        """Continues a prompt: a Generation; of a list of prompts a list of them.

        stream=True: an iterator of pieces (TextStream), of one prompt; its `result` is the whole.
        on_text: called with each piece, of a list with (index of the prompt, piece), as soon as the
            piece is certain. False ends that text.
        options: see GenerateOptions. Token i of a text is drawn from (seed, index of the prompt,
            i), whatever the threads.

        FormatError unless the model is a causal language model, UsageError for options out of
        range and an empty prompt.
        """
        given = _checked(options)
        prompts, single = many("prompt", prompt)
        beams = given.get("beams")
        if beams is not None:
            if stream or on_text is not None:
                raise UsageError("generate: a beam search knows no text before its end: no stream")
            results = [self._search(text, given) for text in prompts]
            return results[0] if single else results
        if "length_penalty" in given:
            raise UsageError("generate: length_penalty needs beams")
        if stream:
            return self._stream(prompts, single, given, on_text)
        return self._generate(prompts, single, given, on_text, None)

    def _generate(
        self,
        prompts: list[Text],
        single: bool,
        options: dict[str, Any],
        on_text: Callable[..., Any] | None,
        cancel: _models.CancelFlag | None,
    ) -> Any:
        pieces = None if on_text is None else _Pieces(on_text, len(prompts), single)
        tell = None if pieces is None else pieces.take
        found = _models.generate(self._inner, prompts, options, tell, self._call(cancel=cancel))
        if pieces is not None:
            pieces.finish()
        results = [_generation(text, row) for text, row in zip(prompts, found)]
        return results[0] if single else results

    def _stream(
        self,
        prompts: list[Text],
        single: bool,
        options: dict[str, Any],
        on_text: Callable[..., Any] | None,
    ) -> TextStream:
        if not single or on_text is not None:
            raise UsageError("generate: stream=True takes one prompt, and no on_text")

        def write(cancel: _models.CancelFlag, take: Callable[[str], bool]) -> Generation:
            result: Generation = self._generate(prompts, True, options, take, cancel)
            return result

        return TextStream(write)

    def _search(self, text: Text, options: dict[str, Any]) -> Generation:
        found = _models.search_beams(self._inner, text, options, self._call())
        beams = [_generation(text, row) for row in found]
        first = found[0]
        return _generation(text, first, tuple(beams))


class _Pieces:
    """Gives on_text whole characters: a model of bytes writes them a byte at a time."""

    def __init__(self, on_text: Callable[..., Any], prompts: int, single: bool) -> None:
        self._on_text = on_text
        self._single = single
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = [decoder("replace") for _ in range(prompts)]

    def take(self, prompt: int, piece: bytes) -> Any:
        return self._tell(prompt, self._decoders[prompt].decode(piece))

    def finish(self) -> None:
        for prompt, decoder in enumerate(self._decoders):
            self._tell(prompt, decoder.decode(b"", final=True))

    def _tell(self, prompt: int, text: str) -> Any:
        if not text:
            return None
        return self._on_text(text) if self._single else self._on_text(prompt, text)


def _generation(
    prompt: Text, row: tuple[str, list[int], int, str, float], beams: tuple[Generation, ...] = ()
) -> Generation:
    text, ids, prompt_tokens, ending, score = row
    return Generation(text, text_of(prompt), ids, prompt_tokens, ending, score, beams)
