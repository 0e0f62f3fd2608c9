"""Training and evaluation: every task of the program."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from ._data import DataFiles
from ._native import (
    _models,
    call_options,
    fspath,
    in_python,
    python_names,
    rank_and_threads,
)
from ._notes import log, tell
from ._progress import Bar
from ._train_options import EvalOptions, TrainOptions, check_evaluation, check_training
from .folders import convert, describe, init_model, verify
from .models import Model, load

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._data import Data
    from ._native import PathLike

__all__ = [
    "AnsweredQuestion",
    "ChosenAnswer",
    "ClassScore",
    "EvalOptions",
    "Evaluation",
    "Prediction",
    "StopTraining",
    "TaggedWords",
    "TrainOptions",
    "TrainingEvent",
    "TrainingRun",
    "convert",
    "describe",
    "evaluate",
    "init_model",
    "train",
    "verify",
]


class StopTraining(Exception):
    """Raised by a callback: the training saves, and `train` returns with `stopped`."""


@dataclass(frozen=True)
class TrainingEvent:
    """What a training tells its callbacks.

    `kind` is "start" (there is a checkpoint; `text` is its name), "step" (an update), "evaluating"
    (`step` of `steps` rows or tokens are done), "eval", "save" or "note" (`text` is a line).
    """

    kind: str
    step: int
    steps: int
    loss: float  # mean per predicted byte, token or text
    bits_per_byte: float | None  # None: the loss is not of bytes
    metrics: dict[str, float]  # "eval": of the held-out texts
    learning_rate: float
    gradient_norm: float  # before clipping
    skipped: bool  # "step": loss or gradient were not finite, nothing was updated
    tokens: int  # seen so far
    tokens_per_second: float
    seconds: float
    seconds_left: float
    rss_bytes: int
    text: str


# Gets each event. True stops the training, which saves first; "save" saves; else it goes on.
Callback = Callable[[TrainingEvent], Union[bool, str, None]]


@dataclass(frozen=True)
class TrainingRun:
    """What came of a training. `loss` and `metrics` are those of the model that was kept, which
    stood after update `model_step`."""

    output: Path  # the folder of the run, which is a model's folder, too
    step: int  # of the last update
    stopped: bool  # by a callback; train(..., resume=True) goes on to the same bits
    model_step: int  # of the model in `output`: `step`, or an earlier one that was better
    ended_early: bool  # patience was at its end
    out_of_time: bool  # before its last update, by max_seconds
    loss: float  # held out, per predicted byte, token or text
    bits_per_byte: float | None
    metrics: dict[str, float]
    skipped: int  # updates that were not applied
    held_out_texts: int  # that `metrics` are shares of; 0: they are not
    share_of_texts: str  # the metric that is the share of these that is right
    resumed: bool
    seconds: float
    total_seconds: float  # with those of the processes before it
    # Seconds by what they went for: "computing", "data", "log" and "saves" of the updates, and
    # "evaluations".
    times: dict[str, float]

    def __fspath__(self) -> str:
        return str(self.output)

    def model(self, **options: Any) -> Model:
        """longspan.load of the trained model."""
        return load(self.output, **options)

    def history(self) -> dict[str, dict[str, list[float]]]:
        """What metrics.jsonl says: {"train": {"step": [...], "loss": [...]}, "eval": ...}."""
        return _models.run_log(str(self.output))

    def _repr_html_(self) -> str:
        facts = {"loss": self.loss, **self.metrics}
        if self.bits_per_byte is not None:
            facts["bits_per_byte"] = self.bits_per_byte
        cells = "".join(f"<td>{html.escape(n)} <b>{v:.4f}</b></td>" for n, v in facts.items())
        head = f"<table><tr><td>step <b>{self.step}</b></td>{cells}</tr></table>"
        return head + _curves(self.history())


def _curves(history: dict[str, dict[str, list[float]]]) -> str:
    """The losses as an SVG: training grey, held out blue."""
    colours = {"train": "#999", "eval": "#06c"}
    series = {
        kind: [(s, y) for s, y in zip(table["step"], table["loss"]) if y == y]
        for kind, table in history.items()
        if kind in colours and "loss" in table
    }
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    wide, high = max(max(xs) - min(xs), 1.0), max(max(ys) - min(ys), 1e-9)

    def place(point: tuple[float, float]) -> str:
        x, y = point
        return f"{10 + 380 * (x - min(xs)) / wide:.1f},{10 + 100 * (max(ys) - y) / high:.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{colours[kind]}" points="{" ".join(map(place, line))}"/>'
        for kind, line in series.items()
    )
    labels = (
        f'<text x="12" y="20" font-size="10">{max(ys):.3f}</text>'
        f'<text x="12" y="118" font-size="10">{min(ys):.3f}</text>'
    )
    return f'<svg width="400" height="120" role="img">{lines}{labels}</svg>'


# ---- training -----------------------------------------------------------------------------------


def train(
    task: str,
    model: PathLike | Model,
    output: PathLike,
    *,
    train: Data,
    eval: Data | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | str | None = None,
    threads: int | None = None,
    **options: Unpack[TrainOptions],
) -> TrainingRun:
    """Trains the model in a folder, and writes the trained one, checkpoints and metrics.jsonl into
    the folder `output`, as `longspan train` does.

    task: what is learnt, and what rows in memory are, if they are no mappings:
        "lm": the next token (Reformers); "mlm": masked tokens; files of texts
        "classify": labels of texts: (text, label). A list of labels is a set; numbers are values
            with problem="regression"
        "token-classify": tags of words: (words, tags); mappings may have "text" and "spans"
        "qa": answers in texts: mappings with "question", "context" and "answers"
        "multiple-choice": mappings with "question", "choices" and "label"
        "embed": vectors: (anchor, positive), (anchor, positive, negative), or (text, text, score)
        "rerank": relevance: (query, text, label from 0 to 1); mappings may have "query", "positive"
            and "negatives"
    train, eval: paths of files or folders, rows, or a DataFrame, whose missing values are fields
        that a row has not; of "lm" and "mlm" also a Series or an array of texts. Without `eval` a
        share of the training rows is held out. Messages call rows train[0], train[1] and so on.
    callbacks: each gets every TrainingEvent. True or StopTraining ends the training after the
        update, "save" makes a checkpoint. Other exceptions end it in the same way, and are raised.
    progress: a bar, of tqdm where that is installed, else plain text on stderr; None: if stderr is
        a terminal, and in a notebook. False: none, and nothing but warnings is printed. The
        program's "auto", "bar", "plain" and "none" are accepted too.
    options: see TrainOptions. Each may also have the name that the program's option has: lr=1e-4.

    Notes that somebody should act upon, such as labels without a held-out row, are warnings
    (RuntimeWarning). Other notes, evaluations and saves are logged by logging.getLogger("longspan")
    with the level INFO, which Python does not print by default.

    Processes that mpirun or srun started together are ranks of one training: each of them makes the
    same calls with the same options, and gets the same result. The first one (rank 0) writes the
    output, and its callbacks hear all events; those of others "start" and "step". PeerError:
    another rank has failed. With LONGSPAN_MPI=0 in the environment each process trains by itself.

    Ctrl-C saves the run and raises KeyboardInterrupt; before the first checkpoint, and a second
    time, it ends at once. UsageError for options, FormatError for files, LockedError if another
    process uses `output`, NumericError for a loss that is not finite three times in a row.

        rows = [(["Anne", "walked"], ["B-PER", "O"]), (["It", "rained"], ["O", "O"])]
        run = longspan.train("token-classify", "long", "tagger", train=rows, eval=rows, epochs=4)
        run.model().token_classify("Anne was glad.")
    """
    given = check_training(task, options)
    given["model"] = _folder("train: model", model)
    given["output"] = fspath("train: output", output)
    if "tokenizer" in given:
        given["tokenizer"] = fspath("train: tokenizer", given["tokenizer"])
    if isinstance(given.get("class_weights"), Mapping):
        given["class_weights"] = json.dumps(dict(given["class_weights"]))
    rank, threads = rank_and_threads(threads)
    shown = progress if rank == 0 else False
    with DataFiles("train", task, given) as files, Bar(shown, "steps", task) as bar:
        given["train"] = files.paths("train", train)
        if eval is not None:
            given["eval"] = files.path("eval", eval)
        on_event = _listener(callbacks, bar, files.by_rows)
        with python_names(files.by_rows):
            result = _models.train(task, given, on_event, call_options(threads))
    return TrainingRun(output=Path(given["output"]), **result)


def _listener(
    callbacks: Sequence[Callback], bar: Bar, by_rows: Callable[[str], str]
) -> Callable[[dict[str, Any]], str | None]:
    """What hears of each event."""
    if callable(callbacks):
        raise TypeError("train: callbacks is a function, need a list of them")

    def listen(values: dict[str, Any]) -> str | None:
        event = TrainingEvent(**{**values, "text": by_rows(values["text"])})
        if event.kind == "note":
            bar.end_line()
            tell([event.text])
        else:
            _show(bar, event)
        wish = None
        for callback in callbacks:
            try:
                answer = callback(event)
            except StopTraining:
                answer = True
            if answer is True:
                wish = "stop"
            elif answer == "save" and wish is None:
                wish = "save"
        return wish

    return listen


def _show(bar: Bar, event: TrainingEvent) -> None:
    if event.kind == "step":
        bar.update(event.step, event.steps)
    elif event.kind == "eval":
        shown = {"loss": event.loss, **event.metrics}
        facts = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        _say(bar, f"step {event.step}: held out {facts}")
    elif event.kind == "save":
        _say(bar, in_python(event.text))


def _say(bar: Bar, line: str) -> None:
    log.info("%s", line)
    bar.note(line)


def _folder(name: str, model: PathLike | Model) -> str:
    return model.path if isinstance(model, Model) else fspath(name, model)


# ---- evaluation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassScore:
    """How well a label is found. `support`: texts that have it, `predicted`: texts that get it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text. `input` is its place: "reviews.csv:12"."""

    input: str
    id: str
    gold: list[str]
    predicted: list[str]
    gold_value: float  # of numbers: what the file says
    scores: dict[str, float]


@dataclass(frozen=True)
class TaggedWords:
    """The words of one text with their tags: the file's, and the model's."""

    input: str
    id: str
    words: list[str]
    gold: list[str]
    predicted: list[str]


@dataclass(frozen=True)
class AnsweredQuestion:
    """What a model answers to one question. `predicted` is context[start:end]; empty: nothing."""

    input: str
    id: str
    question: str
    gold: list[str]  # the right answers; none: the text does not say
    predicted: str
    score: float
    start: int
    end: int
    exact_match: float  # 0 or 1
    f1: float


@dataclass(frozen=True)
class ChosenAnswer:
    """Which choice a model takes: `gold` and `predicted` are places in `choices`."""

    input: str
    id: str
    question: str
    choices: list[str]
    gold: int
    predicted: int
    scores: list[float]  # of the choices: probabilities that sum to 1


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on texts. `counted`: tokens, texts, words, questions, rows or pairs
    that counted; `notes`: lines about rows that were left out; `cut`: rows that lost tokens.

    What the model says of each text stands in `predictions` ("classify"), `words`
    ("token-classify"), `answers` ("qa") or `choices` ("multiple-choice"); `classes` has labels, or
    the kinds of entities, or tags.
    """

    task: str
    metrics: dict[str, float]
    counted: int
    notes: list[str] = field(default_factory=list, repr=False)
    cut: int = 0
    classes: list[ClassScore] = field(default_factory=list, repr=False)
    predictions: list[Prediction] = field(default_factory=list, repr=False)
    words: list[TaggedWords] = field(default_factory=list, repr=False)
    answers: list[AnsweredQuestion] = field(default_factory=list, repr=False)
    choices: list[ChosenAnswer] = field(default_factory=list, repr=False)

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><th>{html.escape(name)}</th><td>{value:.4f}</td></tr>"
            for name, value in self.metrics.items()
        )
        return "<table>" + "".join(cells) + "</table>"


# What progress counts.
_TOKENS = ("lm", "mlm")


def evaluate(
    model: PathLike | Model,
    data: Data,
    *,
    task: str | None = None,
    threads: int | None = None,
    progress: bool | str | None = None,
    **options: Unpack[EvalOptions],
) -> Evaluation:
    """What a model is worth on texts that it has not seen: the loss of language models, accuracy
    and F1 of classes and answers, how well vectors and rerankers find what belongs together.

    data: a file or folder, or rows in memory, as train() has them.
    task: None: what the model's head is for, and "embed" of an encoder alone. "embed" measures the
        vectors of any model, "rerank" a classifier with one label.
    options: see EvalOptions.

    progress: as in train(). Notes that somebody should act upon are warnings, as there, and `notes`
    of the result has all of them.

    UsageError for options and for a model with another head, FormatError for bad files.

        found = longspan.evaluate("tagger", "test.conll")
        print(found.metrics["f1"], found.words[0].predicted)
    """
    folder = _folder("evaluate: model", model)
    head = str(_models.model_info(folder)["head"])
    task, given = check_evaluation(folder, head, task, options)
    given["model"] = folder
    unit = "tokens" if task in _TOKENS else "rows"
    with DataFiles("evaluate", task, given) as files, Bar(progress, unit, "evaluate") as bar:
        given["data"] = files.path("data", data)
        call = call_options(threads, progress=bar.update if bar.shown else None)
        with python_names(files.by_rows):
            result = _models.evaluate(task, given, call)
        result["notes"] = [files.by_rows(note) for note in result["notes"]]
    tell(result["notes"])
    labels = result.pop("labels", [])
    result["predictions"] = [
        Prediction(place, name, gold, predicted, value, dict(zip(labels, scores)))
        for place, name, gold, predicted, value, scores in result.get("predictions", [])
    ]
    for name, row in _ROWS.items():
        result[name] = [row(*values) for values in result.get(name, [])]
    return Evaluation(task=task, **result)


# The classes of an evaluation's rows, by the names of its fields.
_ROWS: dict[str, Callable[..., Any]] = {
    "classes": ClassScore,
    "words": TaggedWords,
    "answers": AnsweredQuestion,
    "choices": ChosenAnswer,
}
