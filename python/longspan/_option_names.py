"""Names of options. Each has one name in this package; the program's long spelling of it, with _
for -, is accepted as the same option. The tables here are the only place that knows both."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from . import _option_values as values
from ._arguments import flag
from ._errors import UsageError

# Names that a call has at most, of which all are listed where none is like the one that was given.
_MOST_LISTED = 8

# The options of this package that a value of the program's spelling means. It gets the place for
# messages, "train: columns", and the value.
Meaning = Callable[[str, Any], dict[str, Any]]
Function = TypeVar("Function", bound=Callable[..., Any])


def unknown_option(function: str, name: str, known: Iterable[str], described: str) -> TypeError:
    """The error for a name that `function` does not know: it suggests the nearest one of `known`,
    and otherwise says what there is. described: what of help() has all options."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    if near:
        advice = f"did you mean {near[0]!r}?"
    elif len(names) <= _MOST_LISTED:
        advice = f"there are {', '.join(names)}"
    else:
        advice = f"help({described}) lists those that there are"
    return TypeError(f"{function}: unknown option {name!r}; {advice}")


# ---- what the program's spellings mean ----------------------------------------------------------


def _is(name: str) -> Meaning:
    return lambda place, value: {name: value}


def _opposite(name: str) -> Meaning:
    def read(place: str, value: Any) -> dict[str, Any]:
        function, option = place.split(": ", 1)
        return {name: not flag(function, option, value)}

    return read


def _columns(*fields: str, least: int) -> Meaning:
    def read(place: str, value: Any) -> dict[str, Any]:
        names = values.names(place, value)
        if not least <= len(names) <= len(fields):
            need = f"{least}" if least == len(fields) else f"{least} or {len(fields)}"
            raise UsageError(f"{place}: {len(names)} names, need {need}")
        return dict(zip(fields, names))

    return read


def _field_or_column(field: str, column: str) -> Meaning:
    """A number is a column of CoNLL's, anything else the name of a field."""

    def read(place: str, value: Any) -> dict[str, Any]:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return {column: int(value)}
        return {field if isinstance(value, str) else column: value}

    return read


def _save_error(place: str, value: Any) -> dict[str, Any]:
    if value not in ("stop", "continue"):
        raise UsageError(f"{place} is {value!r}, need 'stop' or 'continue'")
    return {"survive_save_error": value == "continue"}


# `global` is a word of Python's: a call has `global_`, a mapping of options may have both.
_GLOBAL = {"global": _is("global_tokens"), "global_": _is("global_tokens")}
_DATA = {
    "text_column": _is("text_field"),
    "text_pair_column": _is("pair_field"),
    "text_pair_field": _is("pair_field"),
    "label_column": _is("label_field"),
    "token_column": _field_or_column("word_field", "word_column"),
    "tag_column": _field_or_column("tag_field", "tag_column"),
    "max_answer": _is("max_answer_tokens"),
    **_GLOBAL,
}
_TRAIN = {
    **_DATA,
    "lr": _is("learning_rate"),
    "head_lr": _is("head_learning_rate"),
    "max_time": _is("max_seconds"),
    "on_save_error": _save_error,
    "keep_best": _opposite("keep_last"),
}
_EVALUATE = {**_DATA, "step": _is("stride"), "no_lm_bias": _opposite("lm_bias")}
_ROWS = {**_GLOBAL, "tokens": _is("max_length")}
_TOP = {"top": _is("top_k")}

# By function, the program's spellings that are not the names of this package.
SPELLINGS: dict[str, dict[str, Meaning]] = {
    "train": _TRAIN,
    "evaluate": _EVALUATE,
    "init_model": {"arch": _is("family")},
    "convert": {"max_pos": _is("max_tokens"), "max_shard_size": _is("max_shard_bytes")},
    "load": {**_ROWS, "memory": _is("memory_limit"), "no_lm_bias": _opposite("lm_bias")},
    "classify": {**_ROWS, **_TOP},
    "explain": _ROWS,
    "token_classify": {**_ROWS, "aggregate": _is("aggregation")},
    "qa": {**_ROWS, **_TOP, "max_answer": _is("max_answer_tokens")},
    "multiple_choice": _ROWS,
    "fill_mask": {**_ROWS, **_TOP},
    "rerank": {**_ROWS, **_TOP},
    "encode": {**_ROWS, "normalize": _is("normalize_embeddings")},
    "generate": {
        "temp": _is("temperature"),
        "no_cache": _opposite("cache"),
        "no_stream": _opposite("stream"),
    },
    "tokenizer": {"tokens": _is("max_length"), "no_special": _opposite("add_special_tokens")},
}

# Those that depend on the task of a training or an evaluation.
_PAIRS = ("anchor_field", "positive_field", "negative_field")
_OF_TASK: dict[str, dict[str, Meaning]] = {
    "embed": {
        "columns": _columns(*_PAIRS, least=2),
        "scored_columns": _columns("first_field", "second_field", "score_field", least=3),
    },
    "rerank": {
        "columns": _columns("query_field", "text_field", "label_field", least=3),
        "list_columns": _columns("query_field", "positive_field", "negative_field", least=3),
    },
}

# The program's options that have no place here, and what there is instead.
PROGRAM_ONLY: dict[str, dict[str, str]] = {
    "train": {
        "json": "the result is the object that train returns",
        "config": "read the file with tomllib, and give its options by name",
    },
    "evaluate": {
        "json": "the result is the object that evaluate returns",
        "predictions": "the result has what the model says of each row",
    },
    "init_model": {},
    "convert": {"json": "the result is the object that convert returns"},
}

# What values of an option may be besides those that the compiled part reads.
_VALUES: dict[str, Callable[[str, Any], Any]] = {
    "max_seconds": values.seconds,
    "first_save_seconds": values.seconds,
    "memory": values.parse_bytes,
    "memory_limit": values.parse_bytes,
    "max_line_bytes": values.parse_bytes,
    "max_shard_bytes": values.parse_bytes,
    "train_only": values.names,
    "freeze": values.names,
    "label_names": values.names,
    "labels": values.names,
    "matryoshka": values.numbers,
}


def translate(function: str, given: Mapping[str, Any], task: str = "") -> dict[str, Any]:
    """The options by their names here, with values that may have been texts of the program's.

    None is an option that was not given. UsageError for one option by two names, and for a value
    that none of these has; TypeError for an option that only the program has. Names that are
    unknown stay as they are.
    """
    spellings = {**SPELLINGS[function], **_OF_TASK.get(task, {})}
    made: dict[str, Any] = {}
    said: dict[str, str] = {}  # by which name an option was given
    for name, value in given.items():
        place = f"{function}: {name}"
        if name in PROGRAM_ONLY.get(function, {}):
            reason = PROGRAM_ONLY[function][name]
            raise TypeError(f"{place} is an option of the program alone: {reason}")
        if value is None:
            continue
        meant = spellings[name](place, value) if name in spellings else {name: value}
        for ours, what in meant.items():
            if ours in said:
                raise UsageError(
                    f"{function}: {said[ours]} and {name} are one option; give one of them"
                )
            said[ours] = name
            made[ours] = _VALUES[ours](place, what) if ours in _VALUES else what
    return made


def speaks(
    function: str, options: type | None = None, described: str = ""
) -> Callable[[Function], Function]:
    """Lets a function take the program's spellings of its arguments by name, as translate() has
    them, and refuse unknown ones with a suggestion. options: the TypedDict of its **options."""

    def wrap(call: Function) -> Function:
        parameters = inspect.signature(call).parameters.values()
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        arguments = [p.name for p in parameters if p.kind not in kinds and p.name != "self"]
        known = [*arguments, *([] if options is None else options.__annotations__)]

        @functools.wraps(call)
        def told(*args: Any, **given: Any) -> Any:
            made = translate(function, given)
            for name in (*made, *(name for name in given if given[name] is None)):
                if name not in known and name not in SPELLINGS[function]:
                    raise unknown_option(function, name, known, described or f"longspan.{function}")
            nothing = {name: None for name in arguments if given.get(name, 0) is None}
            return call(*args, **{**nothing, **made})

        return told  # type: ignore[return-value]

    return wrap
