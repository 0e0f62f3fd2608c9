"""The options of trainings and evaluations, by the names that the program's options have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from ._errors import UsageError

if TYPE_CHECKING:
    from ._native import PathLike


class ReadOptions(TypedDict, total=False):
    """How files are read; docs/reference/data.md has the rules.

    format: "auto" (as a file's name ends), "text", "csv", "tsv", "jsonl" or "json".
    encoding: "utf-8", or any name that iconv knows; "bytes" keeps every byte of prose.
    text_field, label_field, pair_field: columns of tables, fields of JSON: "text", "label", none.
    label_separator: between the names of a set of labels in tables: "|".
    max_line_bytes: the largest line or row that is accepted; 64 MiB.
    skip_bad: leave out rows that cannot be used, and count them.
    """

    format: str
    encoding: str
    text_field: str
    label_field: str
    pair_field: str
    label_separator: str
    max_line_bytes: int
    skip_bad: bool


class TrainOptions(ReadOptions, total=False):
    """Options of train(). docs/reference/training.md has the rules and the defaults.

    held_out: share of the training texts that is held out where there is no `eval`.
    steps: updates. epochs: passes over the texts instead, "classify".
    batch: rows that run together. accumulate: batches of an update. tokens: of a row; 0: the
        model's positions. lengths: of rows that get longer, "512:1000,4096:" ("lm",
        "mlm"). seed: of the order of data, dropout, masks and new weights.
    learning_rate: the highest one. schedule: "cosine", "linear", "constant" or "inverse-sqrt"
        after `warmup` updates (-1: 6 % of all), the first two down to the share `final_rate`.
    optimizer: "adamw", "adafactor" or "sgd". weight_decay. beta1, beta2, epsilon: of AdamW.
        beta2_decay, update_clip: of Adafactor. momentum, nesterov: of SGD. clip: the largest
        gradient norm; 0: any.
    train_only, freeze: lists of names of parameters that are trained, and that are not; a * stands
        for any letters. head_learning_rate: the highest one of the head.
    dropout: in the place of the config's.
    dtype: operands of products, "float32" or "bfloat16". memory: bytes that a step may take, or
        "6G". recompute: less memory, a third more time, the same bits (Longformers).
        gradient_streams: "bfloat16" for less memory (Reformers, "lm").
    attention, num_hashes, strict: of Reformers, as longspan.load has them.
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
    problem: "single", "multi", "regression" or "auto", "classify". overflow: "error" or "truncate"
        for texts that are longer than a row, "classify". global_tokens: see RowOptions.
    class_weights: of the classes in the loss, "balanced", "name=weight,name=weight" or a mapping,
        and label_smoothing: the share of each target that is spread over all, "classify".
    mask_share: of the tokens, "mlm". documents: where one ends: "file", "blank-line", "line", and
        "joined" for "lm". packed: rows of whole documents that do not see each other.
    tokenizer: a folder, or "bytes", "lm".
    """

    held_out: float
    steps: int
    epochs: float
    batch: int
    accumulate: int
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
    train_only: list[str]
    freeze: list[str]
    head_learning_rate: float
    dropout: float
    dtype: str
    memory: int | str
    recompute: bool
    gradient_streams: str
    attention: str
    num_hashes: int
    strict: bool
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
    first_save_seconds: float
    max_seconds: float
    metric: str
    patience: int
    keep_last: bool
    problem: str
    overflow: str
    class_weights: str | Mapping[str, float]
    label_smoothing: float
    global_tokens: str
    mask_share: float
    documents: str
    packed: bool
    tokenizer: PathLike


class EvalOptions(ReadOptions, total=False):
    """Options of evaluate(). Those that are not described here are as in TrainOptions.

    tokens: of a row or a window. stride: the advance of a language model's window.
    held_out: the last part (0, 1] of the text, which counts. seed: of the masks.
    """

    tokens: int
    stride: int
    held_out: float
    seed: int
    attention: str
    num_hashes: int
    strict: bool
    problem: str
    overflow: str
    global_tokens: str
    mask_share: float
    documents: str
    packed: bool


# Options that not every task has.
_OF_TRAINING = {
    "lm": {"documents", "packed", "tokenizer", "gradient_streams", "lengths"},
    "mlm": {"documents", "packed", "mask_share", "global_tokens", "recompute", "lengths"},
    "classify": {
        "class_weights",
        "epochs",
        "global_tokens",
        "label_smoothing",
        "overflow",
        "problem",
        "recompute",
    },
}
_OF_EVALUATION = {
    "lm": {"stride", "held_out"},
    "mlm": {"held_out", "seed", "mask_share", "documents", "packed", "global_tokens"},
    "classify": {"problem", "overflow", "global_tokens"},
}


def _check(
    function: str,
    task: str,
    options: Mapping[str, Any],
    known: Mapping[str, Any],
    by_task: Mapping[str, set[str]],
) -> None:
    for name in options:
        if name not in known:
            raise TypeError(f"{function}: unknown option {name!r}; there are {', '.join(known)}")
        tasks = [other for other, names in by_task.items() if name in names]
        if tasks and task not in tasks:
            raise UsageError(
                f"{function}: {name} is no option of '{task}', only of {' and '.join(tasks)}"
            )


def check_training(task: str, options: Mapping[str, Any]) -> None:
    """UsageError for a task that is none, and for options that it has not; TypeError for names
    that no task has."""
    if task not in _OF_TRAINING:
        raise UsageError(f"train: task is {task!r}, need 'lm', 'mlm' or 'classify'")
    _check("train", task, options, TrainOptions.__annotations__, _OF_TRAINING)
    if "epochs" in options and "steps" in options:
        raise UsageError("train: give steps or epochs, not both")


def check_evaluation(model: str, head: str, options: Mapping[str, Any]) -> None:
    """The same for a model with this head."""
    if head not in _OF_EVALUATION:
        raise UsageError(
            f"evaluate: {model} has the head '{head}', need {', '.join(_OF_EVALUATION)}"
        )
    _check("evaluate", head, options, EvalOptions.__annotations__, _OF_EVALUATION)
