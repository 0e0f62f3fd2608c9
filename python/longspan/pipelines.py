"""`pipeline(task, model)`: the calls and dictionaries that people know from transformers.

A text in, a result out; a list in, a list out. The difference: a long text is read in windows, and
nothing of it is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._errors import UsageError
from ._option_names import unknown_option
from .models import Model, load
from .results import Answer, Entities, Filled, FilledMask

if TYPE_CHECKING:
    from ._native import PathLike

_ALIASES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "embeddings": "feature-extraction",
}

# What tasks of transformers need that is not here.
_ELSEWHERE = {
    "zero-shot-classification": "it needs a model of natural language inference, which is asked as "
    "a pair: pipeline('text-classification') with {'text': ..., 'text_pair': hypothesis}",
    "summarization": "it needs an encoder-decoder",
    "translation": "it needs an encoder-decoder",
    "text2text-generation": "it needs an encoder-decoder",
}


# Spellings that the methods of a model take, and what transformers calls these options.
_OF_TRANSFORMERS = {
    "top": "top_k",
    "aggregate": "aggregation_strategy",
    "max_answer": "max_answer_len",
}


class Pipeline:
    """A model with a task. Call it with texts; `model` is the longspan.Model inside."""

    task: str = ""
    head: str | None = None

    def __init__(self, model: Model, options: dict[str, Any]) -> None:
        self.model = model
        self._options = options

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """The result of a text, or of each of a list."""
        if inputs is None:
            raise TypeError(f"{self.task}: give a text or a list of texts")
        given = self._checked({**self._options, **options})
        if isinstance(inputs, (list, tuple)):
            return self._answer(list(inputs), given)
        return self._single(self._answer([inputs], given))

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options; TypeError for the program's spelling of one that has transformers' here."""
        for name in options:
            if name in _OF_TRANSFORMERS:
                raise unknown_option(self.task, name, [_OF_TRANSFORMERS[name]], "longspan.pipeline")
        return options

    def __repr__(self) -> str:
        return f"<longspan pipeline '{self.task}' on {self.model!r}>"

    def _single(self, results: list[Any]) -> Any:
        return results[0]

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        raise NotImplementedError

    def _take(self, options: dict[str, Any], **defaults: Any) -> list[Any]:
        """The values of these options. What is left over goes to the model's method."""
        return [options.pop(name, default) for name, default in defaults.items()]


class TextClassification(Pipeline):
    """{"label", "score"} of each text. top_k: a list of so many; None: of all labels.

    A pair is {"text": ..., "text_pair": ...}. function_to_apply is the model's own: "sigmoid" for
    sets of labels, "softmax" for classes, "none" for numbers.
    """

    task = "text-classification"
    head = "classify"

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        # transformers gives a list for one text, unless top_k is named.
        named = "top_k" in options or "top_k" in self._options
        return [result] if isinstance(inputs, str) and not named else result

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        several = "top_k" in options
        top_k, apply = self._take(options, top_k=1, function_to_apply=None)
        if several and top_k is not None and top_k < 1:
            raise UsageError(f"text-classification: top_k is {top_k!r}, need at least 1, or None")
        self._check_function(apply)
        results = self.model.classify([_text_or_pair(text) for text in inputs], **options)
        made = []
        for result in results:
            rows = [{"label": name, "score": score} for name, score in result.scores.items()]
            made.append(rows[:top_k] if several else rows[0])
        return made

    def _check_function(self, apply: Any) -> None:
        own = {"classes": "softmax", "labels": "sigmoid", "values": "none"}
        if apply is None:
            return
        kind = self.model._task({}).scores
        if str(apply) != own[kind]:
            raise UsageError(
                f"text-classification: function_to_apply is {apply!r}; this model's scores are "
                f"'{own[kind]}', and others are made of Model.logits"
            )


class TokenClassification(Pipeline):
    """{"entity_group", "score", "word", "start", "end"} of each span; with
    aggregation_strategy="none", the default, "entity" of each token."""

    task = "token-classification"
    head = "token-classify"

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        strategy, ignored = self._take(
            options, aggregation_strategy="none", ignore_labels=["O"]
        )
        if list(ignored) != ["O"]:
            raise UsageError(f"token-classification: ignore_labels is {ignored!r}, need ['O']")
        key = "entity" if strategy == "none" else "entity_group"
        found = self.model.token_classify(inputs, aggregation=strategy, **options)
        return [self._spans(spans, key) for spans in found]

    @staticmethod
    def _spans(spans: Entities, key: str) -> list[dict[str, Any]]:
        return [
            {key: e.label, "score": e.score, "word": e.word, "start": e.start, "end": e.end}
            for e in spans
        ]


class FillMask(Pipeline):
    """{"score", "token", "token_str", "sequence"} of the top_k (5) best tokens for a mask; of a
    text with several masks a list of these for each."""

    task = "fill-mask"
    head = "mlm"

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        (top_k,) = self._take(options, top_k=5)
        return [
            self._masks(filled) for filled in self.model.fill_mask(inputs, top_k=top_k, **options)
        ]

    def _masks(self, filled: Filled) -> Any:
        rows = [self._guesses(filled, mask) for mask in filled]
        return rows[0] if len(rows) == 1 else rows

    @staticmethod
    def _guesses(filled: Filled, mask: FilledMask) -> list[dict[str, Any]]:
        alone = Filled(filled.text, (mask,))
        return [
            {
                "score": guess.score,
                "token": guess.id,
                "token_str": guess.text,
                "sequence": alone.fill([guess]),
            }
            for guess in mask.guesses
        ]


class FeatureExtraction(Pipeline):
    """The vectors of a text's tokens, as nested lists (1, tokens, width); return_tensors=True: an
    array of NumPy. For one vector of a text use Model.encode."""

    task = "feature-extraction"

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        (as_array,) = self._take(options, return_tensors=False)
        if options:
            raise TypeError(f"feature-extraction: unknown option {next(iter(options))!r}")
        longest = self.model.max_seq_length
        made = []
        for row in self.model.tokenizer.encode_batch(inputs, max_length=longest):
            states = self.model.hidden([row.ids], token_type_ids=[row.type_ids])
            made.append(states if as_array else states.tolist())
        return made


class TextGeneration(Pipeline):
    """[{"generated_text"}] of each prompt: with the prompt, unless return_full_text=False.

    max_new_tokens, temperature, top_k, top_p, seed, repetition_penalty, num_beams, do_sample=False
    (the most likely token), stop_strings and the other options of Model.generate.
    """

    task = "text-generation"
    head = "lm"

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        full, sample, several = self._take(
            options, return_full_text=True, do_sample=True, num_return_sequences=1
        )
        if several != 1:
            raise UsageError(
                "text-generation: num_return_sequences is not 1; give the prompt as often in a list"
            )
        for theirs, ours in (
            ("max_new_tokens", "tokens"),
            ("num_beams", "beams"),
            ("stop_strings", "stop"),
        ):
            if theirs in options:
                options[ours] = options.pop(theirs)
        if options.get("beams") == 1:
            del options["beams"]
        if not sample:
            options["temperature"] = 0.0
        results = self.model.generate(inputs, **options)
        return [[{"generated_text": g.prompt + g.text if full else g.text}] for g in results]


class QuestionAnswering(Pipeline):
    """{"score", "start", "end", "answer"}: of question=..., context=..., or of dictionaries with
    these; with top_k > 1 a list. handle_impossible_answer: there may be none ("")."""

    task = "question-answering"
    head = "qa"

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        question, context = options.pop("question", None), options.pop("context", None)
        if inputs is None:
            if question is None or context is None:
                raise UsageError("question-answering: give question and context")
            if isinstance(question, str):
                inputs = {"question": question, "context": context}
            else:
                contexts = [context] * len(question) if isinstance(context, str) else context
                inputs = [{"question": q, "context": c} for q, c in zip(question, contexts)]
        return super().__call__(inputs, **options)

    def _answer(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        top_k, longest, may_be_none = self._take(
            options, top_k=1, max_answer_len=30, handle_impossible_answer=False
        )
        for row in inputs:
            if not isinstance(row, Mapping) or not {"question", "context"} <= set(row):
                raise UsageError(
                    "question-answering: need {'question': ..., 'context': ...}, or both by name"
                )
        found = self.model.qa(
            [row["question"] for row in inputs],
            [row["context"] for row in inputs],
            top_k=top_k,
            max_answer_tokens=longest,
            may_be_none=may_be_none,
            **options,
        )
        return [self._dict(a) if top_k == 1 else [self._dict(b) for b in a] for a in found]

    @staticmethod
    def _dict(answer: Answer) -> dict[str, Any]:
        return {
            "score": answer.score,
            "start": answer.start,
            "end": answer.end,
            "answer": answer.text,
        }


_PIPELINES: dict[str, type[Pipeline]] = {
    kind.task: kind
    for kind in (
        TextClassification,
        TokenClassification,
        FillMask,
        FeatureExtraction,
        TextGeneration,
        QuestionAnswering,
    )
}


def pipeline(
    task: str,
    model: PathLike | Model,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    device: str | int | None = None,
    **options: Any,
) -> Pipeline:
    """A callable for a task, as `transformers.pipeline` makes them.

    task: "text-classification" ("sentiment-analysis"), "token-classification" ("ner"), "fill-mask",
        "feature-extraction", "text-generation" or "question-answering".
    model: a folder, or a Model. options: those of each call, such as top_k; a call may name others.

    UsageError for a task that is not here, FormatError for a model with another head.
    """
    name = _ALIASES.get(task, task)
    if name not in _PIPELINES:
        why = _ELSEWHERE.get(name, f"there are {', '.join(_PIPELINES)}")
        raise UsageError(f"pipeline: no task {task!r}: {why}")
    if device not in (None, "cpu", -1):
        raise UsageError(f"pipeline: device is {device!r}, need 'cpu'")
    kind = _PIPELINES[name]
    loaded = model
    if not isinstance(loaded, Model):
        loaded = load(loaded, dtype=dtype, threads=threads, head=kind.head)
    return kind(loaded, options)


def _text_or_pair(text: Any) -> Any:
    """A text, or {"text", "text_pair"} as a pair."""
    if not isinstance(text, Mapping):
        return text
    unknown = set(text) - {"text", "text_pair"}
    if unknown or "text" not in text:
        raise UsageError(
            "text-classification: need {'text': ..., 'text_pair': ...}, got "
            f"{sorted(map(str, text))}"
        )
    pair = text.get("text_pair")
    return text["text"] if pair is None else (text["text"], pair)
