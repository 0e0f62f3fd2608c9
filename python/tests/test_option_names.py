"""Options by the names of this package and of the program: two tables that must agree."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan import _option_names, _train_options  # noqa: E402
from longspan._option_names import PROGRAM_ONLY, SPELLINGS, translate  # noqa: E402
from longspan.models import GenerateOptions, Model, RowOptions  # noqa: E402

# The page is the program's help: a test of the repository compares the two.
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/options.md"

if not PAGE.is_file():
    pytest.skip("the documents are not in this tree", allow_module_level=True)

# The program's options about files that a command reads and writes, and about its process. Methods
# of a model get their texts as values, and return what they find.
FILES = set(
    "model text lines json_lines format encoding text_column text_field max_line_bytes skip_bad "
    "text_pair_column text_pair_field quiet json output_format output resume file prompt".split()
)
# Those that longspan.load has, for all calls of a model.
LOADED = {"dtype", "attention", "num_hashes", "allow_nonfinite", "no_lm_bias"}
# What results have: all labels above a threshold (labels), windows, influence of sentences
# (explain), logits, questions and choices as arguments.
RESULTS = {
    "classify": {"threshold", "windows", "explain", "explain_label", "html"},
    "rerank": {"raw"},
    "qa": {"question"},
    "multiple_choice": {"question", "choice"},
    # prompt="" is none; vectors are as the folder says unless normalize_embeddings is True.
    "encode": {"prompt", "no_prompt", "no_normalize"},
}
# Positional arguments by names of their own.
PLACES = {"output", "model"}


def program_options(command: str) -> set[str]:
    """All long options of a command, with _ for -."""
    page = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^##+ {command}$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None, command
    rows = re.findall(r"^\| `(-[^`]*)` \|", section[1], re.MULTILINE)
    names = {name.replace("-", "_") for row in rows for name in re.findall(r"--([a-z][\w-]*)", row)}
    assert len(names) > 3
    return names


def arguments(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) | PLACES


def spellings(function: str, task: str = "") -> set[str]:
    """The program's names that a function knows; `global` is Python's word."""
    named = {*SPELLINGS[function], *_option_names._OF_TASK.get(task, {})}
    return named | set(PROGRAM_ONLY.get(function, {}))


TASKS = sorted(_train_options._OF_TRAINING)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_a_training(task: str) -> None:
    theirs = program_options(f"train {task}")
    ours = set(_train_options.TrainOptions.__annotations__) | arguments(longspan.train)
    assert theirs - ours - spellings("train", task) == set()
    # And what they mean is an option of this task.
    for name in theirs & set(SPELLINGS["train"]) - {"on_save_error"}:
        value: Any = {"keep_best": True, "max_time": "1m"}.get(name, "x")
        meant = translate("train", {name: value}, task)
        assert _train_options.check_training(task, meant) == meant


@pytest.mark.parametrize(
    ("function", "command", "known"),
    [
        ("evaluate", "eval", set(_train_options.EvalOptions.__annotations__)),
        ("init_model", "init", set()),
        ("convert", "convert", set()),
    ],
)
def test_every_option_of_a_function(function: str, command: str, known: set[str]) -> None:
    call = getattr(longspan, function)
    both = spellings(function, "embed") | spellings(function, "rerank")
    assert program_options(command) - known - arguments(call) - both == set()


@pytest.mark.parametrize(
    ("method", "command"),
    [("classify", "classify"), ("token_classify", "token-classify"), ("qa", "qa"),
     ("multiple_choice", "multiple-choice"), ("fill_mask", "fill-mask"), ("rerank", "rerank"),
     ("encode", "embed"), ("generate", "generate")],
)  # fmt: skip
def test_every_option_of_a_question(method: str, command: str) -> None:
    options = GenerateOptions if method == "generate" else RowOptions
    known = set(options.__annotations__) | arguments(getattr(Model, method))
    theirs = program_options(command) - FILES - LOADED - RESULTS.get(method, set())
    assert theirs - known - spellings(method) == set()
    assert LOADED - {"no_lm_bias"} <= arguments(longspan.load) and "no_lm_bias" in SPELLINGS["load"]


def test_every_spelling_is_one_of_the_program() -> None:
    """A name that the program has no more leaves the table."""
    of = {"train": [f"train {task}" for task in TASKS], "evaluate": ["eval"],
          "init_model": ["init"],
          "load": ["fill-mask"], "encode": ["embed"], "tokenizer": ["tokenize"],
          "token_classify": ["token-classify"], "multiple_choice": ["multiple-choice"],
          "fill_mask": ["fill-mask"], "explain": ["classify"]}  # fmt: skip
    for function, table in SPELLINGS.items():
        theirs = {"global_", "memory"}.union(*map(program_options, of.get(function, [function])))
        assert set(table) | set(PROGRAM_ONLY.get(function, {})) <= theirs, function


def test_the_guide_has_every_spelling() -> None:
    guide = (PAGE.parents[1] / "guide/python.md").read_text(encoding="utf-8")
    rows = " ".join(row.split("|")[2] for row in guide.splitlines() if row.startswith("| "))
    told = set(re.findall(r"[`(]([a-z_]+)[`=]", rows))
    tables = [*SPELLINGS.values(), *_option_names._OF_TASK.values()]
    assert set().union(*tables) - told - {"global"} == set()


@pytest.mark.parametrize(
    ("task", "given", "meant"),
    [
        ("", {"lr": 1e-4, "head_lr": 1e-3}, {"learning_rate": 1e-4, "head_learning_rate": 1e-3}),
        ("", {"max_time": "1h30m"}, {"max_seconds": 5400.0}),
        ("", {"max_seconds": "1.5m"}, {"max_seconds": 90.0}),
        ("", {"max_time": 20}, {"max_seconds": 20}),
        ("", {"memory": "6G", "max_line_bytes": "1M"},
         {"memory": 6 << 30, "max_line_bytes": 1 << 20}),
        ("", {"keep_best": True}, {"keep_last": False}),
        ("", {"on_save_error": "stop"}, {"survive_save_error": False}),
        ("", {"freeze": "a.*,b"}, {"freeze": ["a.*", "b"]}),
        ("", {"global_": "none", "lr": None}, {"global_tokens": "none"}),
        ("token-classify", {"token_column": "2", "tag_column": "ner"},
         {"word_column": 2, "tag_field": "ner"}),
        ("token-classify", {"tag_column": 3}, {"tag_column": 3}),
        ("embed", {"columns": "q,yes", "matryoshka": "128,32"},
         {"anchor_field": "q", "positive_field": "yes", "matryoshka": [128, 32]}),
        ("rerank", {"columns": ("q", "t", "y")},
         {"query_field": "q", "text_field": "t", "label_field": "y"}),
    ],
)  # fmt: skip
def test_spellings_and_values(task: str, given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert translate("train", given, task) == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 1, "learning_rate": 1}, "train: lr and learning_rate are one option; give one"),
        ({"text_field": "a", "text_column": "b"}, "train: text_field and text_column are one"),
        ({"max_time": "soon"}, "train: max_time: 'soon' is no time above 0; give seconds"),
        ({"max_time": "10"}, "train: max_time: '10' is no time"),
        ({"on_save_error": "hope"}, "train: on_save_error is 'hope', need 'stop' or 'continue'"),
        ({"columns": "a,b,c,d"}, "train: columns: 4 names, need 2 or 3"),
        ({"matryoshka": "1,x"}, "train: matryoshka: '1,x' is no list of integers"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(longspan.UsageError) as caught:
        translate("train", given, "embed")
    assert str(caught.value).replace("max_seconds", "max_time").startswith(message)


def test_options_of_the_program_alone(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="train: json is an option of the program alone"):
        longspan.train("lm", "m", tmp_path, train="b.txt", json=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="train: keep_best is 1 .int., it must be True"):
        options: Any = {"keep_best": 1}
        longspan.train("lm", "m", tmp_path, train="b.txt", **options)


# ---- functions ----------------------------------------------------------------------------------


def test_folders_by_the_names_of_the_program(tmp_path: Path) -> None:
    made: Any = longspan.init_model
    new = made(tmp_path / "new", arch="bert", preset="tiny", head="classify", labels="yes,no")
    assert new.info["family"] == "bert" and new.info["labels"] == ["yes", "no"]
    with pytest.raises(longspan.UsageError, match="family and arch are one option"):
        made(tmp_path / "other", family="bert", arch="bert")
    with pytest.raises(TypeError, match="unknown option 'layer'; did you mean 'layers'"):
        made(tmp_path / "other", layer=2)
    convert: Any = longspan.convert
    long = convert(new, tmp_path / "long", to="longformer", max_pos=1024, max_shard_size="1M")
    assert long.load().info["longest"] == 1024
    with pytest.raises(longspan.UsageError, match="convert: max_shard_size: 'big'"):
        convert(new, tmp_path / "other", max_shard_size="big")


def test_training_by_the_names_of_the_program(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = [{"words": "a good day", "kind": "good"}, {"words": "a bad day", "kind": "bad"}] * 4
    theirs = longspan.train(
        "classify", folders["mlm"], tmp_path / "theirs", train=rows, eval=rows, steps=1, batch=8,
        accumulate=1, text_column="words", label_column="kind", lr=1e-3, head_lr=1e-2,
        max_time="1h", global_="first:1", freeze="longformer.embeddings.*", on_save_error="stop",
        progress="none",
    )  # fmt: skip
    ours = longspan.train(
        "classify", folders["mlm"], tmp_path / "ours", train=rows, eval=rows, steps=1, batch=8,
        accumulate=1, text_field="words", label_field="kind", learning_rate=1e-3,
        head_learning_rate=1e-2, max_seconds=3600, global_tokens="first:1",
        freeze=["longformer.embeddings.*"], survive_save_error=False,
    )  # fmt: skip
    one, two = (run.output / "model.safetensors" for run in (theirs, ours))
    assert one.read_bytes() == two.read_bytes()
    found = longspan.evaluate(theirs, rows, text_column="words", label_column="kind")
    assert found.metrics["loss"] == theirs.loss
    with pytest.raises(longspan.UsageError, match="progress is 'loud', need"):
        longspan.evaluate(theirs, rows, progress="loud")


def test_questions_by_the_names_of_the_program(models: dict[str, Model]) -> None:
    model = models["classify"]
    whole = model.classify("a text", tokens=16, global_="first:1")
    assert whole == model.classify("a text", max_length=16, global_tokens="first:1")
    best = model.classify("a text", tokens=16, global_="first:1", top=2)
    assert list(best.scores.items()) == list(whole.scores.items())[:2]
    with pytest.raises(longspan.UsageError, match="classify: top_k and top are one option"):
        model.classify("a text", top_k=2, top=2)
    with pytest.raises(longspan.UsageError, match="classify: top_k is 0"):
        model.classify("a text", top_k=0)
    with pytest.raises(TypeError, match="classify: unknown option 'topk'; did you mean 'top_k'"):
        model.classify("a text", topk=2)  # type: ignore[call-overload]
    assert len(models["mlm"].fill_mask("a <mask>", top=3)[0].guesses) == 3
    assert len(models["qa"].qa("Who?", "Anne walked.", top=2, max_answer=3)) == 2
    written = models["lm"].generate("She", tokens=3, temp=0.0, no_cache=True)
    assert written == models["lm"].generate("She", tokens=3, temperature=0.0, cache=False)
    row = model.tokenizer.encode("a text", no_special=True)  # type: ignore[call-arg]
    assert row.ids == model.tokenizer.encode("a text", add_special_tokens=False).ids
    loaded: Any = longspan.load
    assert loaded(model.path, memory="64M", tokens=16).memory_limit == 64 << 20
