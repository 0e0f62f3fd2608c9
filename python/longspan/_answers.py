"""Questions about texts: classes, words, answers, choices, missing words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ._errors import UsageError
from ._model_base import ModelBase, RowOptions, Text, TextOrPair, many, text_of
from ._native import _models
from ._option_names import speaks
from ._progress import Bar
from .results import (
    Answer,
    Choice,
    Classification,
    Entities,
    Entity,
    Explanation,
    Filled,
    FilledMask,
    Guess,
    Ranked,
    SentenceInfluence,
    Window,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


# What help() tells about the options of all these.
_ROWS = "longspan.models.RowOptions"


class TopOptions(RowOptions, total=False):
    """RowOptions, and top: the program's spelling of top_k."""

    top: int


class AnswerOptions(TopOptions, total=False):
    """TopOptions, and max_answer: the program's spelling of max_answer_tokens."""

    max_answer: int


class TagOptions(RowOptions, total=False):
    """RowOptions, and aggregate: the program's spelling of aggregation."""

    aggregate: str


def _check_top(function: str, top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise UsageError(f"{function}: top_k is {top_k!r}, need at least 1, or None")


class Answers(ModelBase):
    """classify() and its neighbours."""

    @overload
    def classify(
        self,
        texts: TextOrPair,
        *,
        top_k: int | None = ...,
        show_progress_bar: bool | None = ...,
        **rows: Unpack[TopOptions],
    ) -> Classification: ...
    @overload
    def classify(
        self,
        texts: list[Any],
        *,
        top_k: int | None = ...,
        show_progress_bar: bool | None = ...,
        **rows: Unpack[TopOptions],
    ) -> list[Classification]: ...
    @speaks("classify", RowOptions, _ROWS)
    def classify(
        self,
        texts: Any,
        *,
        top_k: int | None = None,
        show_progress_bar: bool | None = None,
        **rows: Unpack[TopOptions],
    ) -> Classification | list[Classification]:
        """The class of a text, or of each of a list. A tuple of two texts is a pair.

        top_k: so many labels, the best ones, are in `scores`; None: all.
        """
        given, single = many("texts", texts)
        _check_top("classify", top_k)
        task = self._task(rows)
        with Bar(show_progress_bar, "tokens", "classify") as bar:
            found = task.classify(given, self._call(bar.update if bar.shown else None))
        kind = task.scores
        results = [
            Classification(
                dict(list(self._scores(scores).items())[:top_k]),
                kind,
                tuple(Window(s, e, tokens, self._scores(of)) for s, e, tokens, of in windows),
            )
            for scores, windows in found
        ]
        return results[0] if single else results

    @speaks("explain", RowOptions, _ROWS)
    def explain(self, text: TextOrPair, **rows: Unpack[RowOptions]) -> Explanation:
        """Why a text has its class: each sentence is left out in turn, and the model asked again.

        The time grows with the number of sentences, which are put together beyond 512.
        """
        both = text if isinstance(text, tuple) else (text,)
        ((scores, sentences),) = self._task(rows).explain([text], self._call())
        whole = self._scores(scores)
        read = [text_of(t) for t in both]
        return Explanation(
            whole,
            tuple(
                SentenceInfluence(
                    read[sequence][start:end],
                    start,
                    end,
                    sequence,
                    {name: whole[name] - score for name, score in zip(self.labels, without)},
                )
                for sequence, start, end, without in sentences
            ),
            read[0],
        )

    @overload
    def token_classify(
        self, texts: TextOrPair, *, aggregation: str = ..., **rows: Unpack[TagOptions]
    ) -> Entities: ...
    @overload
    def token_classify(
        self, texts: list[Any], *, aggregation: str = ..., **rows: Unpack[TagOptions]
    ) -> list[Entities]: ...
    @speaks("token_classify", RowOptions, _ROWS)
    def token_classify(
        self, texts: Any, *, aggregation: str = "simple", **rows: Unpack[TagOptions]
    ) -> Entities | list[Entities]:
        """The spans of a text that have a class ("O" is none), or those of each of a list.

        aggregation: how tokens become spans, as in transformers: "none", "simple", "first",
        "average" or "max". The program calls this option `aggregate`.
        """
        given, single = many("texts", texts)
        found = self._task(rows).token_classify(given, aggregation, self._call())
        results = []
        for text, spans in zip(given, found):
            read = text_of(text[0] if isinstance(text, tuple) else text)
            results.append(
                Entities(read, [Entity(name, p, read[s:e], s, e) for name, p, s, e in spans])
            )
        return results[0] if single else results

    @speaks("rerank", RowOptions, _ROWS)
    def rerank(
        self,
        query: str,
        texts: Sequence[Text],
        *,
        top_k: int | None = None,
        **rows: Unpack[TopOptions],
    ) -> list[Ranked]:
        """The texts in the order of their relevance to `query`, the best first; top_k: so many.

        The model is a classifier with one label, such as a CrossEncoder. The score is the sigmoid
        of its number, or what the folder's files name instead. A long text is read in windows and
        has the score of its best one.
        """
        given, _ = many("texts", list(texts) if isinstance(texts, tuple) else texts)
        _check_top("rerank", top_k)
        reranker = _models.Reranker.make(self._task(rows))
        if not given:
            return []
        found = reranker.rank([query], given, top_k or len(given), self._call())
        return [Ranked(text_of(given[i]), i, p, logit, s, e) for i, p, logit, s, e in found]

    # ---- answers, choices, missing words --------------------------------------------------------

    @speaks("qa", RowOptions, _ROWS)
    def qa(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        top_k: int = 1,
        max_answer_tokens: int = 30,
        may_be_none: bool = False,
        **rows: Unpack[AnswerOptions],
    ) -> Any:
        """The part of `context` that answers `question`: an Answer; with top_k > 1 a list of them,
        the best first; of lists of questions (and one context, or as many) a list of these.

        max_answer_tokens: tokens of an answer at most. may_be_none: "the text does not say" is an
        answer, too. Scores are probabilities among all tokens of all windows.
        """
        questions, single = many("question", question)
        contexts = [context] * len(questions) if isinstance(context, str) else list(context)
        if len(contexts) != len(questions):
            raise UsageError(
                f"qa: {len(questions)} questions and {len(contexts)} contexts; need as many, or one"
            )
        options = {
            "top_k": top_k,
            "max_answer_tokens": max_answer_tokens,
            "may_be_none": may_be_none,
        }
        found = self._task(rows).qa(list(zip(questions, contexts)), options, self._call())
        results: list[Any] = []
        for text, answers in zip(contexts, found):
            read = text_of(text)
            several = [Answer(read[s:e], score, s, e, none) for score, s, e, none in answers]
            results.append(several[0] if top_k == 1 and several else several)
        return results[0] if single else results

    @overload
    def multiple_choice(
        self, question: str, choices: Sequence[str], **rows: Unpack[RowOptions]
    ) -> Choice: ...
    @overload
    def multiple_choice(
        self,
        question: list[str],
        choices: Sequence[Sequence[str]],
        **rows: Unpack[RowOptions],
    ) -> list[Choice]: ...
    @speaks("multiple_choice", RowOptions, _ROWS)
    def multiple_choice(
        self, question: Any, choices: Any, **rows: Unpack[RowOptions]
    ) -> Choice | list[Choice]:
        """The choice that fits a question best; of a list of questions (with a list of choices for
        each) a list. Nothing is read in windows: LimitError for a text that is too long."""
        questions, single = many("question", question)
        lists = [list(choices)] if single else [list(of) for of in choices]
        if len(lists) != len(questions):
            raise UsageError(
                f"multiple_choice: {len(questions)} questions and {len(lists)} lists of choices"
            )
        found = self._task(rows).multiple_choice(questions, lists, self._call())
        results = []
        for texts, scores in zip(lists, found):
            best = int(np.argmax(scores))
            results.append(Choice(texts[best], best, scores[best], tuple(scores)))
        return results[0] if single else results

    @overload
    def fill_mask(
        self, texts: Text, *, top_k: int = ..., **rows: Unpack[TopOptions]
    ) -> Filled: ...
    @overload
    def fill_mask(
        self, texts: list[Any], *, top_k: int = ..., **rows: Unpack[TopOptions]
    ) -> list[Filled]: ...
    @speaks("fill_mask", RowOptions, _ROWS)
    def fill_mask(
        self, texts: Any, *, top_k: int = 5, **rows: Unpack[TopOptions]
    ) -> Filled | list[Filled]:
        """The top_k best tokens for each mask of a text, or of each of a list.

        A mask is what `tokenizer.mask_token` says: "<mask>" or "[MASK]". All masks of a text are
        guessed at once. UsageError for a text without one.
        """
        given, single = many("texts", texts)
        found = self._task(rows).fill_mask(given, top_k, self._call())
        results = []
        for text, masks in zip(given, found):
            filled = tuple(
                FilledMask(
                    s,
                    e,
                    tuple(
                        Guess(read, p, i, token, on, inside)
                        for i, token, read, p, on, inside in guesses
                    ),
                )
                for s, e, guesses in masks
            )
            results.append(Filled(text_of(text), filled))
        return results[0] if single else results

    def _scores(self, scores: list[float]) -> dict[str, float]:
        pairs = zip(self._info["labels"], scores)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))
