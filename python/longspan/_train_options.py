"""The options of trainings and evaluations, by the names that the program's options have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from ._errors import UsageError
from ._option_names import translate, unknown_option

if TYPE_CHECKING:
    from ._native import PathLike


class ReadOptions(TypedDict, total=False):
    """How files are read; docs/reference/data.md has the rules.

    The program's spellings are accepted too: text_column (text_field), label_column (label_field),
    text_pair_column and text_pair_field (pair_field).

    format: "auto" (as a file's name ends), "text", "csv", "tsv", "jsonl" or "json".
    encoding: "utf-8", or any name that iconv knows; "bytes" keeps every byte of prose.
    text_field, label_field, pair_field: columns of tables, fields of JSON: "text", "label", and
        "text_pair" where rows have it; "" reads no second text.
        Of "rerank" the first two are the text and its relevance.
    label_separator: between the names of a set of labels in tables: "|", "classify".
    max_line_bytes: the largest line or row that is accepted, or "16M"; 64 MiB.
    skip_bad: leave out rows that cannot be used, and count them.
    """

    format: str
    encoding: str
    text_field: str
    label_field: str
    pair_field: str
    label_separator: str
    max_line_bytes: int | str
    skip_bad: bool
    text_column: str
    label_column: str
    text_pair_column: str
    text_pair_field: str


class TaskOptions(ReadOptions, total=False):
    """How texts become what a task learns, or is measured by: the same in both.

    overflow: what becomes of texts that are longer than a row: "error" (the default of
        "multiple-choice" and of trainings of "classify"), "truncate" (of "rerank"), or "window" (of
        "token-classify", "qa", "embed" and evaluations of "classify", which can read several
        rows). A training of "classify" learns from each window with the label of its text, or as
        `window_loss` says, and an evaluation takes the mean of their scores. stride: tokens that
        neighbouring windows share, "classify", "token-classify", "qa". global_tokens: see
        RowOptions.
    problem: "single", "multi", "regression" or "auto", "classify".
    word_field, tag_field, span_field: of "token-classify": lists of words and of their tags, or
        the "spans" of a text. word_column, tag_column: of CoNLL's columns, from 1; 0 is the last.
        label_names: what tags that are numbers stand for.
    max_answer_tokens: of an answer at most, "qa".
    anchor_field, positive_field, negative_field: columns of pairs and triplets; first_field,
        second_field, score_field: of scored pairs, "embed". query_field: of "rerank", whose rows
        may have positive_field and negative_field, texts or lists of them, instead of labels.
    loss: "auto", "in-batch", "triplet", "cosine" or "cosent", "embed". scale, margin, distance
        ("euclidean" or "cosine"): of these losses. matryoshka: widths whose losses are summed.
        pooling: see encode(). anchor_prompt, text_prompt: what stands before the texts; the
        folder's prompts. negatives_batch: rows whose texts are compared with each other.
    mask_share: of the tokens, "mlm". documents: where one ends: "file", "blank-line", "line", and
        "joined" for "lm". packed: rows of whole documents that do not see each other.
    attention, num_hashes, strict: of Reformers, as longspan.load has them; "lm" in trainings.

    Lists of names or numbers may be one text with commas, as the program takes them. Its other
    spellings are accepted too: global_ (global_tokens), max_answer (max_answer_tokens),
    token_column and tag_column (word_field and tag_field, or a number: word_column and tag_column),
    columns (the fields of pairs, or "query,text,label" of "rerank"), scored_columns ("embed"),
    list_columns ("rerank").
    """

    overflow: str
    stride: int
    global_tokens: str
    problem: str
    word_field: str
    tag_field: str
    span_field: str
    word_column: int
    tag_column: int | str
    label_names: list[str] | str
    max_answer_tokens: int
    anchor_field: str
    positive_field: str
    negative_field: str
    first_field: str
    second_field: str
    score_field: str
    query_field: str
    loss: str
    scale: float
    margin: float
    distance: str
    matryoshka: list[int] | str
    pooling: str
    anchor_prompt: str
    text_prompt: str
    negatives_batch: int
    mask_share: float
    documents: str
    packed: bool
    attention: str
    num_hashes: int
    strict: bool
    global_: str
    max_answer: int
    token_column: int | str
    columns: list[str] | str
    scored_columns: list[str] | str
    list_columns: list[str] | str


class TrainOptions(TaskOptions, total=False):
    """Options of train(). docs/reference/training.md has the rules and the defaults.

    held_out: share of the training texts that is held out where there is no `eval`.
    steps: updates. epochs: passes over the rows instead, of all tasks but "lm" and "mlm".
    batch: rows that run together. accumulate: batches of an update, of all processes that mpirun
        started; by default one each. row_ranks: neighbours among them that share each row.
        tokens: of a row; 0: the model's positions. lengths: of rows that get longer,
        "512:1000,4096:" ("lm", "mlm"). seed: of the order of data, dropout, masks and new weights.
    learning_rate: the highest one. schedule: "cosine", "linear", "constant" or "inverse-sqrt"
        after `warmup` updates (-1: 6 % of all), the first two down to the share `final_rate`.
    optimizer: "adamw", "adafactor" or "sgd". weight_decay. beta1, beta2, epsilon: of AdamW.
        beta2_decay, update_clip: of Adafactor. momentum, nesterov: of SGD. clip: the largest
        gradient norm; 0: any.
    train_only, freeze: lists of names of parameters that are trained, and that are not; a * stands
        for any letters. head_learning_rate: the highest one of the head.
    dropout: in the place of the config's.
    dtype: operands of products, "float32" or "bfloat16". memory: bytes that a step may take, or
        "6G". recompute: less memory, a third more time, the same bits (not for Reformers).
        gradient_streams: "bfloat16" for less memory (Reformers, "lm").
    allow_nonfinite: the start model's weights may hold NaN and infinity.
    log_every, eval_every, save_every: in updates; 0: at the end. keep: checkpoints that stay.
    tensorboard: write events for TensorBoard into the output folder.
    resume: go on from the newest checkpoint, to the same bits. extend: to more steps than the run
        was made for. overwrite: remove the run that is in the output folder.
    survive_save_error: a first failed save does not end the run. first_save_seconds: to the first
        checkpoint at most. max_seconds: of all processes, after which the run ends as at its last
        update; 0: no limit.
    metric: "loss" or the name of a metric, which decides which model is the best. patience:
        evaluations without a better one that end the run; 0: none. keep_last: the last model is
        left in the output folder (the default of "lm"), not the best.
    class_weights: of the classes or tags in the loss, "balanced", "name=weight,name=weight" or a
        mapping, "classify", "token-classify". label_smoothing: the share of each target that is
        spread over all, "classify". window_loss: "each" learns from each window of a text, "mean"
        from the mean of their scores, with overflow "window", "classify".
    tokenizer: a folder, or "bytes", "lm".

    Times are seconds, or texts such as "30m" and "1h30m". The program's spellings are accepted too:
    lr (learning_rate), head_lr (head_learning_rate), max_time (max_seconds), on_save_error ("stop"
    or "continue": survive_save_error), keep_best (keep_last=False).
    """

    held_out: float
    steps: int
    epochs: float
    batch: int
    accumulate: int
    row_ranks: int
    tokens: int
    lengths: str
    seed: int
    learning_rate: float
    schedule: str
    warmup: int
    final_rate: float
    optimizer: str
    weight_decay: float
    beta2_decay: float
    update_clip: float
    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    epsilon: float
    clip: float
    train_only: list[str] | str
    freeze: list[str] | str
    head_learning_rate: float
    dropout: float
    dtype: str
    memory: int | str
    recompute: bool
    gradient_streams: str
    allow_nonfinite: bool
    log_every: int
    eval_every: int
    save_every: int
    keep: int
    tensorboard: bool
    resume: bool
    extend: bool
    overwrite: bool
    survive_save_error: bool
    first_save_seconds: float | str
    max_seconds: float | str
    metric: str
    patience: int
    keep_last: bool
    class_weights: str | Mapping[str, float]
    label_smoothing: float
    window_loss: str
    tokenizer: PathLike
    lr: float
    head_lr: float
    max_time: float | str
    on_save_error: str
    keep_best: bool


class EvalOptions(TaskOptions, total=False):
    """Options of evaluate(). Those that are not described here are as in TaskOptions.

    tokens: of a row or a window; 0: as the model's folder says, else its positions. stride: also
        the advance of a language model's window. held_out: the last part (0, 1] of the text, which
        counts, "lm", "mlm". seed: of the masks, "mlm". lm_bias: False leaves out a Reformer's head
        bias, "lm", "mlm".

    The program's spellings are accepted too: step (stride, "lm"), no_lm_bias (lm_bias=False).
    """

    tokens: int
    held_out: float
    seed: int
    lm_bias: bool
    step: int
    no_lm_bias: bool


# Options that not every task has: those of trainings and evaluations, and those of one alone.
_ROWS = {"overflow", "global_tokens"}
_OF_TASK: dict[str, set[str]] = {
    "lm": {"text_field", "strict"},
    "mlm": {"text_field", "documents", "packed", "mask_share", "global_tokens"},
    "classify": _ROWS
    | {"text_field", "label_field", "pair_field", "label_separator", "problem", "stride"},
    "token-classify": _ROWS
    | {"text_field", "word_field", "tag_field", "span_field", "word_column", "tag_column"}
    | {"label_names", "stride"},
    "qa": _ROWS | {"text_field", "stride", "max_answer_tokens"},
    "multiple-choice": _ROWS | {"text_field", "label_field"},
    "embed": _ROWS
    | {"anchor_field", "positive_field", "negative_field", "first_field", "second_field"}
    | {"score_field", "loss", "scale", "margin", "distance", "matryoshka", "pooling"}
    | {"anchor_prompt", "text_prompt", "negatives_batch"},
    "rerank": _ROWS
    | {"query_field", "text_field", "label_field", "positive_field", "negative_field"},
}
_ONLY_TRAINED = {
    "lm": {"tokenizer", "documents", "packed", "gradient_streams", "lengths"}
    | {"attention", "num_hashes"},
    "mlm": {"recompute", "lengths"},
    "classify": {"epochs", "recompute", "class_weights", "label_smoothing", "window_loss"},
    "token-classify": {"epochs", "recompute", "class_weights"},
}
_ONLY_EVALUATED = {
    "lm": {"stride", "held_out", "lm_bias"},
    "mlm": {"held_out", "seed", "lm_bias"},
}
_OF_TRAINING = {
    task: names | _ONLY_TRAINED.get(task, {"epochs", "recompute"})
    for task, names in _OF_TASK.items()
}
_OF_EVALUATION = {
    task: names | _ONLY_EVALUATED.get(task, set()) for task, names in _OF_TASK.items()
}

# Arguments of the functions themselves, which a misspelled name may mean, too.
_TRAIN_ARGUMENTS = ("model", "output", "train", "eval", "callbacks", "threads", "progress")
_EVALUATE_ARGUMENTS = ("model", "data", "task", "threads", "progress")


def _check(
    function: str,
    task: str,
    options: Mapping[str, Any],
    known: Any,  # TrainOptions or EvalOptions
    arguments: tuple[str, ...],
    by_task: Mapping[str, set[str]],
) -> None:
    for name in options:
        if name not in known.__annotations__:
            names = [*known.__annotations__, *arguments]
            raise unknown_option(function, name, names, f"longspan.training.{known.__name__}")
        tasks = [other for other, names in by_task.items() if name in names]
        if tasks and task not in tasks:
            raise UsageError(
                f"{function}: {name} is no option of '{task}', only of {' and '.join(tasks)}"
            )


def check_training(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by their names here. UsageError for a task that is none, and for options that it
    has not; TypeError for names that no task has."""
    if task not in _OF_TRAINING:
        raise UsageError(f"train: task is {task!r}, need {_listed(_OF_TRAINING)}")
    options = translate("train", options, task)
    _check("train", task, options, TrainOptions, _TRAIN_ARGUMENTS, _OF_TRAINING)
    if "epochs" in options and "steps" in options:
        raise UsageError("train: give steps or epochs, not both")
    return options


# What is measured of a model with a head of this kind, if nobody says.
_OF_HEAD = {"none": "embed"}


def check_evaluation(
    model: str, head: str, task: str | None, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The task that a model with this head is measured by, and the options; the same errors."""
    task = _OF_HEAD.get(head, head) if task is None else task
    if task not in _OF_EVALUATION:
        raise UsageError(f"evaluate: task is {task!r}, need {_listed(_OF_EVALUATION)}")
    if task != "embed" and head != ("classify" if task == "rerank" else task):
        raise UsageError(f"evaluate: {model} has the head {head!r}, which has no task {task!r}")
    options = translate("evaluate", options, task)
    _check("evaluate", task, options, EvalOptions, _EVALUATE_ARGUMENTS, _OF_EVALUATION)
    return task, options


def _listed(names: Iterable[str]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}"
