"""longspan.train, evaluate, init_model, convert and describe."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan.training import StopTraining, TrainingEvent  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROBERTA = ROOT / "tests/tokenizers/roberta"
GOLDEN = ROOT / "golden"
ROWS = [("a good day at the sea", "good"), ("a bad day in the rain", "bad")] * 12

if not GOLDEN.is_dir():
    pytest.skip("the recorded cases are not in this tree", allow_module_level=True)


@pytest.fixture(scope="module")
def longformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("longformer")
    longspan.init_model(folder, family="longformer", preset="tiny", tokenizer=ROBERTA)
    return folder


@pytest.fixture(scope="module")
def reformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reformer")
    longspan.init_model(folder, preset="tiny")
    return folder


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("She walked to the sea, and the sea was grey.\n" * 200)
    return path


# ---- classifiers --------------------------------------------------------------------------------


def test_classifier_of_rows(longformer: Path, tmp_path: Path) -> None:
    events: list[TrainingEvent] = []
    run = longspan.train(
        "classify", longformer, tmp_path / "run", train=ROWS, eval=ROWS[:4], epochs=4,
        learning_rate=1e-3, callbacks=[events.append],
    )  # fmt: skip
    assert run.metrics["accuracy"] == 1.0 and not run.stopped and run.bits_per_byte is None
    assert run.held_out_texts == 4 and run.share_of_texts == "accuracy"
    kinds = [event.kind for event in events]
    assert {"start", "step", "eval", "save"} <= set(kinds)
    steps = [event.step for event in events if event.kind == "step"]
    assert steps == list(range(1, run.step + 1))
    model = run.model()
    assert model.labels == ["bad", "good"]
    assert model.classify(ROWS[0][0]).label == "good"
    history = run.history()
    assert len(history["eval"]["loss"]) >= 1 and history["eval"]["step"][-1] == run.step
    assert "<svg" in run._repr_html_()
    scores = longspan.evaluate(run.output, ROWS[:6])
    assert scores.task == "classify" and scores.metrics["accuracy"] == 1.0
    assert [p.predicted for p in scores.predictions] == [p.gold for p in scores.predictions]
    assert {c.label for c in scores.classes} == {"good", "bad"}


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "one", "label": ["a", "b"]}, {"text": "two", "label": ["a"]}] * 4,
        [("one", 0.5), ("two", np.float64(1.5))] * 4,
        [{"text": "one", "label": "yes", "text_pair": "more"}, ("two", "no")] * 4,
    ],
    ids=["sets", "numbers", "pairs"],
)
def test_kinds_of_rows(longformer: Path, tmp_path: Path, rows: list[Any]) -> None:
    problem = "regression" if rows[0] == ("one", 0.5) else "auto"
    run = longspan.train(
        "classify", longformer, tmp_path / "run", train=rows, eval=rows, steps=1, problem=problem
    )
    assert run.step == 1 and "loss" in longspan.evaluate(run.output, rows).metrics


def test_data_frames(longformer: Path, tmp_path: Path) -> None:
    class Frame:  # what a DataFrame of pandas has
        columns = ("text", "label")

        def to_dict(self, orient: str) -> list[dict[str, Any]]:
            assert orient == "records"
            return [{"text": text, "label": label} for text, label in ROWS[:8]]

    run = longspan.train(
        "classify", longformer, tmp_path / "run", train=Frame(), steps=1, held_out=0.3
    )
    assert run.step == 1


# ---- language models ----------------------------------------------------------------------------


def test_language_model(reformer: Path, book: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": book, "batch": 2, "tokens": 64, "learning_rate": 1e-3}
    run = longspan.train("lm", reformer, tmp_path / "run", steps=6, **options)
    assert run.bits_per_byte is not None and 0 < run.bits_per_byte < 9
    again = longspan.train("lm", reformer, tmp_path / "again", steps=6, **options, threads=1)
    assert again.loss == run.loss  # whatever the threads
    scores = longspan.evaluate(run.output, book, tokens=64, held_out=0.1)
    assert scores.task == "lm" and scores.metrics["loss"] > 0
    assert run.model().generate("She", tokens=3).ending == "length"


def test_stop_and_resume(reformer: Path, book: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": [book], "steps": 6, "batch": 2, "tokens": 64}
    whole = longspan.train("lm", reformer, tmp_path / "whole", **options)

    def stop(event: TrainingEvent) -> bool:
        return event.kind == "step" and event.step == 3

    part = longspan.train("lm", reformer, tmp_path / "part", **options, callbacks=[stop])
    assert part.stopped and part.step == 3
    rest = longspan.train("lm", reformer, tmp_path / "part", **options, resume=True)
    assert rest.resumed and rest.step == 6 and rest.loss == whole.loss


def test_masked_language_model(longformer: Path, book: Path, tmp_path: Path) -> None:
    run = longspan.train(
        "mlm", longformer, tmp_path / "run", train=book, steps=2, tokens=64, documents="line"
    )
    assert run.step == 2
    scores = longspan.evaluate(run.model(), book, tokens=64, documents="line", held_out=0.5)
    assert scores.metrics["perplexity"] > 1


# ---- callbacks, Ctrl-C --------------------------------------------------------------------------


def test_callbacks_save_stop_and_fail(reformer: Path, book: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": book, "steps": 50, "batch": 1, "tokens": 64}

    def save(event: TrainingEvent) -> str | None:
        if event.kind == "step" and event.step == 2:
            return "save"
        if event.kind == "step" and event.step == 4:
            raise StopTraining
        return None

    run = longspan.train("lm", reformer, tmp_path / "run", **options, callbacks=[save])
    assert run.stopped and run.step == 4
    assert (run.output / "checkpoint-2").is_dir() and (run.output / "checkpoint-4").is_dir()

    error = RuntimeError("mine")

    def fail(event: TrainingEvent) -> None:
        if event.kind == "step" and event.step == 3:
            raise error

    with pytest.raises(RuntimeError) as caught:
        longspan.train("lm", reformer, tmp_path / "failed", **options, callbacks=[fail])
    assert caught.value is error
    assert (tmp_path / "failed/checkpoint-3").is_dir()  # nothing is lost


def test_ctrl_c_saves(reformer: Path, book: Path, tmp_path: Path) -> None:
    code = """
        import sys, longspan
        def tell(event):
            if event.kind == "step" and event.step == 3: print("go")
        try:
            longspan.train("lm", sys.argv[1], sys.argv[2], train=sys.argv[3], steps=100000,
                           batch=1, tokens=64, eval_every=0, save_every=0, callbacks=[tell])
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code), reformer, tmp_path / "run", book],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output == "interrupted\n" and process.returncode == 0
    assert time.monotonic() - begin < 10  # an update, a checkpoint that a busy disk syncs, the end
    saved = {int(path.name.split("-")[1]) for path in (tmp_path / "run").glob("checkpoint-*")}
    assert max(saved) >= 3


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("ner", {}, "task is 'ner'"),
        ("lm", {"epochs": 2}, "epochs is no option of 'lm', only of classify"),
        ("classify", {"epochs": 2, "steps": 3}, "steps or epochs"),
        ("classify", {"train": []}, "train: train is empty"),
        ("classify", {"schedule": "square"}, "square"),
        ("classify", {"dtype": "int8"}, "dtype is 'int8'"),
        ("classify", {"learning_rate": -1.0}, "learning"),
        ("classify", {"memory": "lots"}, "memory: 'lots'"),
    ],
)
def test_bad_options(
    longformer: Path, tmp_path: Path, task: str, options: dict[str, Any], message: str
) -> None:
    options = {"train": ROWS, **options}
    with pytest.raises(ValueError, match=message) as caught:
        longspan.train(task, longformer, tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_bad_types(longformer: Path, tmp_path: Path) -> None:
    def fit(**options: Any) -> None:
        longspan.train("classify", longformer, tmp_path / "run", **{"train": ROWS, **options})

    with pytest.raises(TypeError, match=r"train: steps is 'ten' \(str\), need an integer"):
        fit(steps="ten")
    with pytest.raises(TypeError, match=r"train: train\[0\]: int is no row"):
        fit(train=[3])
    with pytest.raises(TypeError, match="callbacks is a function"):
        fit(callbacks=print)
    with pytest.raises(TypeError, match="unknown option 'learning_rat'"):
        fit(learning_rat=1.0)
    with pytest.raises(longspan.IoError):
        fit(train="nowhere.csv")
    fit(steps=1)
    with pytest.raises(ValueError, match="overwrite"):
        fit(steps=1)
    fit(steps=1, overwrite=True)


def test_evaluate_refuses(longformer: Path, reformer: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stride is no option of 'mlm'"):
        longspan.evaluate(longformer, "book.txt", stride=3)
    longspan.init_model(tmp_path / "qa", family="longformer", preset="tiny", head="qa",
                        tokenizer=ROBERTA)  # fmt: skip
    with pytest.raises(ValueError, match="has the head 'qa'"):
        longspan.evaluate(tmp_path / "qa", "book.txt")


# ---- folders ------------------------------------------------------------------------------------


def test_init_model(tmp_path: Path) -> None:
    made = longspan.init_model(tmp_path / "new", preset="tiny", layers=3, width=64, seed=5)
    assert made.path == tmp_path / "new" and made.parameters > 0
    assert made.info["family"] == "reformer" and made.load().config["hidden_size"] == 64
    with pytest.raises(ValueError):
        longspan.init_model(tmp_path / "new", preset="tiny")
    longspan.init_model(tmp_path / "new", preset="tiny", overwrite=True)
    with pytest.raises(ValueError, match="enormous"):
        longspan.init_model(tmp_path / "other", preset="enormous")


def test_describe(reformer: Path, tmp_path: Path) -> None:
    found = longspan.describe(reformer, tensors=True)
    assert found.is_model and found["architecture"] == "ReformerModelWithLMHead"
    assert found["tensors"] and "architecture" in str(found).lower() or found.lines
    assert "<table>" in found._repr_html_()
    assert not longspan.describe(ROBERTA).is_model
    with pytest.raises(longspan.IoError, match="empty folder"):
        longspan.describe(tmp_path)
    with pytest.raises(OSError):
        longspan.describe(tmp_path / "nowhere")


def test_convert(tmp_path: Path) -> None:
    report = longspan.convert(GOLDEN / "format-bin-legacy", tmp_path / "new")
    assert report.tensors > 0 and report.path == tmp_path / "new"
    assert (tmp_path / "new/model.safetensors").is_file()
    assert report.load().info["parameters"] > 0
    with pytest.raises(ValueError):
        longspan.convert(GOLDEN / "format-bin-legacy", tmp_path / "new")
    with pytest.raises(ValueError, match="bert"):
        longspan.convert(GOLDEN / "format-bin-legacy", tmp_path / "other", to="bert")


def test_results_are_plain_data(longformer: Path, tmp_path: Path) -> None:
    run = longspan.train("classify", longformer, tmp_path / "run", train=ROWS, steps=1)
    assert dataclasses.asdict(run)["step"] == 1
