"""What models answer. Places are characters of the text, as `text[start:end]` takes them."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field

from ._native import _models


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    def row(tag: str, cells: tuple[object, ...]) -> str:
        return "<tr>" + "".join(f"<{tag}>{_cell(c)}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + row("th", head) + "".join(row("td", r) for r in rows) + "</table>"


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else html.escape(str(value))


def _marked(text: str, spans: list[tuple[int, int, str, str]]) -> str:
    """The text with coloured spans (start, end, colour, title), which do not overlap."""
    parts, at = [], 0
    for start, end, colour, title in sorted(spans):
        parts.append(html.escape(text[at:start]))
        parts.append(
            f'<mark style="background:{colour}" title="{html.escape(title)}">'
            f"{html.escape(text[start:end])}</mark>"
        )
        at = end
    parts.append(html.escape(text[at:]))
    return '<div style="white-space:pre-wrap">' + "".join(parts) + "</div>"


def _hue(name: str) -> str:
    return f"hsl({sum(map(ord, name)) * 47 % 360} 70% 85%)"


# ---- classes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A row that a long text was read in."""

    start: int
    end: int
    tokens: int  # special ones included
    scores: dict[str, float]


@dataclass(frozen=True)
class Classification:
    """The class of a text.

    `scores` has each label's score, the best first. `kind` says what scores are: "classes"
    (probabilities that sum to 1), "labels" (a probability each: a set of labels) or "values"
    (numbers as they are: regression). Of a text in several windows: the mean over `windows`,
    weighted by their tokens.
    """

    scores: dict[str, float]
    kind: str = "classes"
    windows: tuple[Window, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """The label with the largest score."""
        return next(iter(self.scores))

    @property
    def score(self) -> float:
        """The largest score."""
        return next(iter(self.scores.values()))

    def labels(self, threshold: float = 0.5) -> list[str]:
        """Of a set of labels: those whose score is at least `threshold`. Else the best one."""
        if self.kind != "labels":
            return [self.label]
        return [name for name, score in self.scores.items() if score >= threshold]

    def _repr_html_(self) -> str:
        return _table(("label", "score"), list(self.scores.items()))


@dataclass(frozen=True)
class SentenceInfluence:
    """A sentence, and how much it adds to each label's score. Above 0: it speaks for the label."""

    text: str
    start: int
    end: int
    sequence: int  # 0: of the text, 1: of the second text of a pair
    influence: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """Why a text has its class: each sentence was left out in turn, and the model asked again."""

    scores: dict[str, float]
    sentences: tuple[SentenceInfluence, ...]
    text: str = field(repr=False)

    @property
    def label(self) -> str:
        """The label with the largest score."""
        return next(iter(self.scores))

    def most_influential(self, label: str | None = None, k: int = 5) -> list[SentenceInfluence]:
        """The k sentences that change a label's score most (None: the best label's)."""
        name = self.label if label is None else label
        return sorted(self.sentences, key=lambda s: -abs(s.influence[name]))[:k]

    def _repr_html_(self) -> str:
        label = self.label
        most = max((abs(s.influence[label]) for s in self.sentences), default=0.0) or 1.0
        spans = []
        for s in self.sentences:
            if s.sequence == 0:
                change = s.influence[label]
                hue, alpha = (120 if change > 0 else 0), abs(change) / most * 0.6
                colour = f"hsl({hue} 80% 50% / {alpha:.2f})"
                spans.append((s.start, s.end, colour, f"{change:+.4f}"))
        return f"<p><b>{html.escape(label)}</b> {self.scores[label]:.4f}</p>" + _marked(
            self.text, spans
        )


# ---- words --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entity:
    """A span of a text with its class."""

    label: str
    score: float
    word: str
    start: int
    end: int


class Entities(list[Entity]):
    """The spans of one text, in its order."""

    def __init__(self, text: str, spans: list[Entity]) -> None:
        super().__init__(spans)
        self.text = text

    def _repr_html_(self) -> str:
        return _marked(
            self.text,
            [(e.start, e.end, _hue(e.label), f"{e.label} {e.score:.4f}") for e in self],
        )


# ---- answers, choices, missing words ------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A part of a text that answers a question. `none`: the text does not say."""

    text: str
    score: float
    start: int
    end: int
    none: bool = False


@dataclass(frozen=True)
class Ranked:
    """A text, and how relevant it is to a query: `index` is its number among the texts, `start` and
    `end` are the characters of its best window."""

    text: str
    index: int
    score: float
    logit: float
    start: int
    end: int


@dataclass(frozen=True)
class Choice:
    """The choice that fits a question best, and the probability of each."""

    text: str
    index: int
    score: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Guess:
    """A token for a mask: as it reads, its probability, its id, as the tokenizer spells it,
    whether it goes on with the word before it ("'s", "##ing"), and what it adds to a text ("ing");
    without that, what it reads as."""

    text: str
    score: float
    id: int
    token: str
    continues_word: bool = False
    in_text: str | None = None


@dataclass(frozen=True)
class FilledMask:
    """A mask of a text, and what may stand there, the most likely first."""

    start: int
    end: int
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Filled:
    """The masks of a text, in its order."""

    text: str
    masks: tuple[FilledMask, ...]

    def __iter__(self) -> Iterator[FilledMask]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> FilledMask:
        return self.masks[index]

    @property
    def best(self) -> str:
        """The text with the best guess in the place of each mask."""
        return self.fill([mask.guesses[0] for mask in self.masks])

    def fill(self, guesses: list[Guess]) -> str:
        """The text with one guess for each mask, as `longspan fill-mask` writes it.

        A guess that goes on with a word takes the place of the spaces before its mask, too. A
        guess with a space of its own leaves it out behind another one. UsageError where there is
        not one guess for each mask.
        """
        places = [(self._byte(mask.start), self._byte(mask.end)) for mask in self.masks]
        words = [
            (guess.text if guess.in_text is None else guess.in_text, guess.continues_word)
            for guess in guesses
        ]
        return _models.fill_in(self.text, places, words)

    def _byte(self, char: int) -> int:
        return len(self.text[:char].encode())

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [
            (number, guess.text, guess.score)
            for number, mask in enumerate(self.masks)
            for guess in mask.guesses
        ]
        return _table(("mask", "text", "score"), rows)


# ---- texts --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Generation:
    """A text that a model went on with.

    `text` is the new part alone and `str()` of it; `ids` are its tokens. `ending` says why it
    ended: "length", "end-of-text", "stop" or "caller". `score` is that of a beam search, whose
    other continuations are in `beams`, the best first.
    """

    text: str
    prompt: str
    ids: list[int] = field(repr=False)
    prompt_tokens: int
    ending: str
    score: float = 0.0
    beams: tuple[Generation, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return (
            '<div style="white-space:pre-wrap"><span style="opacity:.6">'
            f"{html.escape(self.prompt)}</span>{html.escape(self.text)}</div>"
        )
