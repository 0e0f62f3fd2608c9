"""Models' folders: what a path holds, new models, and other people's models converted."""

from __future__ import annotations

import html
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ._folders import parse_json
from ._native import _models, call_options, fspath, named, python_names
from ._option_names import speaks
from .models import Model, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from ._native import PathLike


class Description(dict[str, Any]):
    """What a path holds: the keys are those of `longspan info --json`. `is_model` says whether it
    is a model that can be run, `lines` has the main facts as (name, value)."""

    def __init__(
        self, values: dict[str, Any], is_model: bool, lines: list[tuple[str, str]]
    ) -> None:
        super().__init__(values)
        self.is_model = is_model
        self.lines = lines

    def __str__(self) -> str:
        if not self.lines:
            return "\n".join(f"{name}: {value}" for name, value in self.items())
        width = max(len(name) for name, _ in self.lines)
        return "\n".join(f"{name:{width}}  {value}" for name, value in self.lines)

    def _repr_html_(self) -> str:
        facts = self.lines or [(name, str(value)) for name, value in self.items()]
        cells = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in facts
        )
        return "<table>" + "".join(cells) + "</table>"


def describe(path: PathLike, *, tensors: bool = False) -> Description:
    """What stands in a folder or a file, without loading it. tensors: name, dtype, shape of each.

    IoError for a path where nothing is, FormatError for damaged files.
    """
    is_model, text, lines = _models.describe(fspath("describe: path", path), tensors)
    return Description(parse_json(text), is_model, lines)


@dataclass(frozen=True)
class NewModel:
    """A model that init_model made."""

    path: Path
    parameters: int
    info: dict[str, Any] = field(repr=False)

    def __fspath__(self) -> str:
        return str(self.path)

    def load(self, **options: Any) -> Model:
        """longspan.load of its folder."""
        return load(self.path, **options)


class InitSpellings(TypedDict, total=False):
    """The program's spelling of family."""

    arch: str


@speaks("init_model")
def init_model(
    output: PathLike,
    *,
    family: str | None = None,
    preset: str | None = None,
    config: PathLike | None = None,
    head: str | None = None,
    labels: Sequence[str] | str | None = None,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int | None = None,
    tokenizer: PathLike | None = None,
    seed: int = 1,
    rotation_seed: int | None = None,
    overwrite: bool = False,
    **spellings: Unpack[InitSpellings],
) -> NewModel:
    """Writes a new model with random weights into the folder `output`, which must be empty.

    family: "reformer" (the default), "longformer", "modernbert", "bert", "roberta", "xlm-roberta"
        or "camembert". preset: "tiny", "small" (the default) or "base". config: a config.json in
        the place of both.
    head: "lm", "mlm", "classify", "token-classify", "qa", "multiple-choice" or "none"; None: the
        preset's. labels: names of a classifier's classes, or a text with commas between them.
    layers, width, heads, positions: sizes in the place of the preset's.
    tokenizer: a folder whose tokenizer the model gets. seed: the same one gives the same weights.
    rotation_seed: of a Reformer's LSH layers. overwrite: replace a model that is in the folder.
    arch: the program's spelling of `family` is accepted too.

    UsageError for options that do not fit and a folder that is not empty, FormatError for a bad
    config or tokenizer.
    """
    folder = fspath("init_model: output", output)
    options = named(
        {
            "family": family,
            "preset": preset,
            "config": None if config is None else fspath("init_model: config", config),
            "head": head,
            "labels": labels,
            "layers": layers,
            "width": width,
            "heads": heads,
            "positions": positions,
            "tokenizer": None if tokenizer is None else fspath("init_model: tokenizer", tokenizer),
            "seed": seed,
            "rotation_seed": rotation_seed,
            "overwrite": overwrite,
        }
    )
    with python_names():
        info, parameters, lines = _models.init_model(folder, options)
    for line in lines:
        warnings.warn(line, RuntimeWarning, stacklevel=3)
    return NewModel(Path(folder), parameters, info)


@dataclass(frozen=True)
class Converted:
    """What convert did."""

    path: Path
    source_class: str
    target_class: str
    old_tokens: int  # that a text could have before
    bytes: int  # of tensors
    tensors: int
    shards: int
    copied: list[str]  # files beside the weights
    warnings: list[str]

    def load(self, **options: Any) -> Model:
        """longspan.load of the new folder."""
        return load(self.path, **options)


class ConvertSpellings(TypedDict, total=False):
    """The program's spellings of max_tokens and max_shard_bytes."""

    max_pos: int
    max_shard_size: int | str


@speaks("convert")
def convert(
    source: PathLike,
    output: PathLike,
    *,
    to: str | None = None,
    max_tokens: int = 4096,
    window: int = 256,
    max_shard_bytes: int | str | None = None,
    threads: int | None = None,
    **spellings: Unpack[ConvertSpellings],
) -> Converted:
    """Makes a model of another one in `output`, a folder that is not there yet: complete, or not.

    source: a folder, or a file of weights: safetensors, PyTorch's zip and legacy files, their
        shards. Nothing in them is executed.
    to: "longformer" makes one of a BERT or RoBERTa, whose texts may have `max_tokens` tokens and
        whose tokens see `window` to each side. None: it stays what it is, as safetensors.
    max_shard_bytes: of a file of weights, or "500M"; None: 5 GB.
    max_pos, max_shard_size: the program's spellings of max_tokens and max_shard_bytes are accepted
        too.

    UsageError for a family that nothing becomes, FormatError for a source that cannot be read.
    """
    folder = fspath("convert: output", output)
    options = named(
        {
            "to": to,
            "max_tokens": max_tokens,
            "window": window,
            "max_shard_bytes": max_shard_bytes,
        }
    )
    with python_names():
        report = _models.convert(
            fspath("convert: source", source), folder, options, call_options(threads)
        )
    return Converted(Path(folder), **report)


@dataclass(frozen=True)
class Parity:
    """A recorded case beside what the model computes: whether each tensor holds."""

    ok: bool
    # name: (largest difference, relative L2 error, whether it holds)
    tensors: dict[str, tuple[float, float, bool]]


def verify(model: PathLike, case: PathLike, *, threads: int | None = None) -> Parity:
    """Compares a recorded case (a .safetensors file) with what the folder's model computes."""
    ok, tensors = _models.verify(
        fspath("verify: model", model), fspath("verify: case", case), {}, call_options(threads)
    )
    return Parity(ok, {name: (most, l2, holds) for name, most, l2, holds in tensors})
