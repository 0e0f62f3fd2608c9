"""longspan.train, evaluate, init_model, convert and describe."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan import _native  # noqa: E402
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


def test_long_texts_are_measured_as_classify_reads_them(longformer: Path, tmp_path: Path) -> None:
    rows = [(" ".join([text] * n), label) for n, (text, label) in enumerate(ROWS[:8], start=1)]
    windows: dict[str, Any] = {"overflow": "window", "stride": 2}
    run = longspan.train(
        "classify", longformer, tmp_path / "run", train=rows, eval=rows, steps=2, tokens=16,
        **windows,
    )  # fmt: skip
    scores = longspan.evaluate(run.output, rows, tokens=16, stride=2)
    assert scores.metrics["loss"] == run.loss
    assert any("read in" in note for note in scores.notes)
    asked = run.model().classify([text for text, _ in rows], max_length=16, stride=2)
    assert [one.scores for one in scores.predictions] == [one.scores for one in asked]
    assert [len(one.windows) > 1 for one in asked] == [n > 1 for n in range(1, 9)]


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


# ---- notes and progress -------------------------------------------------------------------------


def test_notes_are_logged(
    longformer: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "longspan")
    options: dict[str, Any] = {"steps": 1, "tokens": 8, "overflow": "truncate"}
    run = longspan.train(
        "classify", longformer, tmp_path / "run", train=ROWS, eval=ROWS[:1], **options
    )
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels['no held-out row has the label "bad"'] == "WARNING"
    assert levels["train: 24 of 24 texts are cut to 8 tokens; the longest has 10"] == "WARNING"
    assert levels["saved checkpoint-1"] == "INFO"
    caplog.clear()
    found = longspan.evaluate(run, ROWS[:1], tokens=8, overflow="truncate")
    assert found.notes and set(found.notes) <= set(caplog.messages)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "shown"),
    [
        (Terminal(), None, True),
        (Terminal(), False, False),
        (io.StringIO(), None, False),
        (io.StringIO(), True, True),
    ],
)
def test_plain_progress(
    longformer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO,
    progress: bool | None, shown: bool,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)  # it is not installed
    monkeypatch.setattr(sys, "stderr", stream)
    longspan.train(
        "classify", longformer, tmp_path / "run", train=ROWS, eval=ROWS[:4], steps=2,
        progress=progress,
    )  # fmt: skip
    text = stream.getvalue()
    if not shown:
        assert text == ""
        return
    assert "\rclassify: 2 of 2 steps" in text and text.endswith("\n")
    assert "\rstep 2: held out loss " in text and "\rsaved checkpoint-2" in text


# ---- words, answers, choices, vectors, relevance --------------------------------------------------

CONTEXT = "Anne walked to the sea. Captain Wentworth stayed in Bath."
TAGGED = [(["Anne", "walked"], ["B-PER", "O"]), (["It", "rained"], ["O", "O"])] * 2
ANSWERED = [
    {"id": "q1", "question": "Who walked?", "context": CONTEXT,
     "answers": {"text": ["Anne"], "answer_start": [0]}},
    {"question": "Who sang?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
]  # fmt: skip
CHOSEN = [{"question": "Who walked?", "choices": ["Anne", "Mary", "Jane"], "label": 0}] * 2
PAIRS = [("who went to the sea", "Anne walked to the sea."), ("weather", "It rained all day.")]
JUDGED = [("weather", "It rained.", 1.0), ("weather", "Anne walked.", 0.0)]


def fit(
    task: str, model: Path, output: Path, rows: list[Any], **options: Any
) -> longspan.training.TrainingRun:
    options.setdefault("steps", 1)
    return longspan.train(task, model, output, train=rows, eval=rows, **options)


def test_tags(longformer: Path, tmp_path: Path) -> None:
    run = fit("token-classify", longformer, tmp_path / "run", TAGGED, epochs=8, steps=None,
              learning_rate=2e-3, metric="f1", patience=4, eval_every=2)  # fmt: skip
    assert run.metrics["f1"] == 1.0 and run.model().labels == ["B-PER", "O"]
    found = longspan.evaluate(run, TAGGED)
    assert found.task == "token-classify" and found.counted == 8
    assert found.metrics["f1"] == 1.0 and found.metrics["accuracy"] == 1.0
    assert found.words[0].words == ["Anne", "walked"] and found.words[0].input
    assert [w.predicted for w in found.words] == [w.gold for w in found.words]
    assert [c.label for c in found.classes] == ["PER"]
    columns = tmp_path / "test.conll"
    columns.write_text("x Anne B-PER\nx walked O\n")
    assert longspan.evaluate(run, columns, word_column=2).words[0].words == ["Anne", "walked"]


def test_answers(longformer: Path, tmp_path: Path) -> None:
    run = fit("qa", longformer, tmp_path / "run", ANSWERED, stride=4, tokens=32)
    assert {"exact_match", "f1"} <= set(run.metrics)
    found = longspan.evaluate(run, ANSWERED, max_answer_tokens=3)
    assert found.counted == 2 and {"has_answer_f1", "no_answer_f1"} <= set(found.metrics)
    first, second = found.answers
    assert first.id == '"q1"' and first.gold == ["Anne"] and second.gold == []
    assert first.predicted == CONTEXT[first.start : first.end]
    f1 = (first.f1 + second.f1) / 2
    assert found.metrics["f1"] == pytest.approx(f1)


def test_choices(longformer: Path, tmp_path: Path) -> None:
    run = fit("multiple-choice", longformer, tmp_path / "run", CHOSEN, keep_last=True)
    found = longspan.evaluate(run, CHOSEN)
    assert found.counted == 2 and found.metrics["chance"] == pytest.approx(1 / 3)
    one = found.choices[0]
    assert one.choices == ["Anne", "Mary", "Jane"] and one.gold == 0
    assert sum(one.scores) == pytest.approx(1.0)
    assert one.predicted == int(np.argmax(one.scores))
    asked = run.model().multiple_choice("Who walked?", ["Anne", "Mary", "Jane"])
    assert asked.text == one.choices[one.predicted]


@pytest.mark.parametrize(
    ("rows", "options", "metrics"),
    [
        (PAIRS, {"scale": 10.0, "matryoshka": [128, 32], "pooling": "cls"}, {"mrr", "recall_10"}),
        ([(*PAIRS[0], "It rained."), (*PAIRS[1], "Anne.")],
         {"loss": "triplet", "margin": 0.5, "distance": "cosine"}, {"triplets"}),
        ([("one", "two", 0.5), ("three", "four", np.float32(1.0))] * 2, {"loss": "cosent"},
         {"pearson", "spearman"}),
    ],
    ids=["pairs", "triplets", "scores"],
)  # fmt: skip
def test_vectors(
    longformer: Path, tmp_path: Path, rows: list[Any], options: dict[str, Any], metrics: set[str]
) -> None:
    run = fit("embed", longformer, tmp_path / "run", rows, negatives_batch=2, **options)
    found = longspan.evaluate(run, rows, task="embed", overflow="truncate")
    assert metrics <= set(run.metrics) and metrics <= set(found.metrics)
    assert found.counted == len(rows) and run.model().encode("a").shape == (128,)


def test_relevance(longformer: Path, tmp_path: Path) -> None:
    run = fit("rerank", longformer, tmp_path / "run", JUDGED)
    found = longspan.evaluate(run, JUDGED, task="rerank")
    assert found.counted == 2 and {"mrr", "ndcg", "average_precision"} <= set(found.metrics)
    assert len(run.model().rerank("weather", ["It rained.", "Anne walked."])) == 2
    rows = [{"q": "weather", "yes": "It rained.", "no": ["Anne walked.", "She sang."]}] * 2
    names = {"query_field": "q", "positive_field": "yes", "negative_field": "no"}
    assert longspan.evaluate(run, rows, task="rerank", **names).counted == 6  # type: ignore[arg-type]


def test_frozen_parts_stay(longformer: Path, tmp_path: Path) -> None:
    run = fit("token-classify", longformer, tmp_path / "run", TAGGED, train_only=["classifier.*"],
              head_learning_rate=1e-2, optimizer="sgd", momentum=0.9, schedule="constant",
              tensorboard=True)  # fmt: skip
    ids = [5, 6, 7]
    assert np.array_equal(run.model().hidden(ids), longspan.load(longformer).hidden(ids))
    assert list(run.output.glob("events.out.tfevents*"))


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
        ("ner", {}, "task is 'ner', need 'lm', .* or 'rerank'"),
        ("lm", {"epochs": 2}, "epochs is no option of 'lm', only of classify and"),
        ("classify", {"attention": "full"}, "attention is no option of 'classify', only of lm"),
        ("classify", {"momentum": 0.5}, "momentum is an option of sgd, and has no effect on adamw"),
        ("embed", {"train": PAIRS, "eval": PAIRS, "margin": 0.5}, "margin: has no effect on the loss in-batch"),
        ("embed", {"text_field": "t"}, "text_field is no option of 'embed'"),
        ("embed", {"train": PAIRS, "loss": "best"}, "best"),
        ("embed", {"train": PAIRS, "distance": "far"}, "distance is 'far'"),
        ("qa", {"train": ANSWERED, "metric": "accuracy"}, "accuracy"),
        ("rerank", {"train": JUDGED, "overflow": "window"}, "overflow"),
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
    with pytest.raises(TypeError, match=r"train: train\[0\]: int is no row.*\(text, label\)"):
        fit(train=[3])
    with pytest.raises(TypeError, match=r"train\[0\]: tuple is no row: need a mapping$"):
        longspan.train("qa", longformer, tmp_path / "run", train=[("who", "what")])
    with pytest.raises(TypeError, match=r"matryoshka\[1\] is 'a' \(str\), need an integer"):
        longspan.train("embed", longformer, tmp_path / "run", train=PAIRS, matryoshka=[8, "a"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="callbacks is a function"):
        fit(callbacks=print)
    with pytest.raises(longspan.IoError):
        fit(train="nowhere.csv")
    fit(steps=1)
    with pytest.raises(ValueError, match="overwrite"):
        fit(steps=1)
    fit(steps=1, overwrite=True)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("learning_rat", "did you mean 'learning_rate'?"),
        ("Head_Learning_Rate", "did you mean 'head_learning_rate'?"),
        ("thread", "did you mean 'threads'?"),  # an argument of train itself
        ("zzz", "help(longspan.training.TrainOptions) lists those that there are"),
    ],
)
def test_unknown_options(longformer: Path, tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(TypeError) as caught:
        longspan.train("classify", longformer, tmp_path / "run", train=ROWS, **{name: 1})
    assert str(caught.value) == f"train: unknown option {name!r}; {advice}"


def test_evaluate_refuses(longformer: Path, reformer: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stride is no option of 'mlm'"):
        longspan.evaluate(longformer, "book.txt", stride=3)
    with pytest.raises(ValueError, match="has the head 'mlm', which has no task 'qa'"):
        longspan.evaluate(longformer, "book.txt", task="qa")
    with pytest.raises(ValueError, match="task is 'ner', need"):
        longspan.evaluate(longformer, "book.txt", task="ner")
    with pytest.raises(TypeError, match="evaluate: unknown option 'strid'; did you mean 'stride'"):
        longspan.evaluate(longformer, "book.txt", strid=3)  # type: ignore[call-arg]


# ---- ranks --------------------------------------------------------------------------------------

TOGETHER = """
import sys
import tempfile
import longspan

task, model, output = sys.argv[1:4]
rows = [("a good day at the sea", "good"), ("a bad day in the rain", "bad")] * 4
seen = []
run = longspan.train(task, model, output, train=rows, eval=rows[:2], steps=2, accumulate=2, batch=2,
                     log_every=1, callbacks=[lambda event: seen.append(event.kind)])
print(run.step, run.metrics["accuracy"], run.model().classify("a good day").label, "save" in seen)
"""


def together(program: str, *words: object, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    module = Path(longspan.__file__).parent / "longspan_mpi.so"
    has_module = module.exists() or "LONGSPAN_MPI_MODULE" in os.environ
    if shutil.which("mpirun") is None or not has_module:
        pytest.skip("no MPI")
    allowed = {name: "1" for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")}
    # A rank that fails leaves the others this time to say so before mpirun kills them.
    allowed["OMPI_MCA_odls_base_sigkill_timeout"] = "2"
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
    with tempfile.TemporaryDirectory() as said:
        # A file for each rank: mpirun would hand on their lines in pieces, mixed with each other.
        result = subprocess.run(
            [*command, "--output-filename", f"{said}:nocopy",
             sys.executable, "-c", program, *map(str, words)],
            # One mpirun removes the folder of Open MPI while another one makes its own in it.
            env={**os.environ, **allowed, "TMPDIR": said},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        folders = [Path(said) / "1" / f"rank.{rank}" for rank in range(ranks)]
        result.stdout += "".join((folder / "stdout").read_text() for folder in folders)
        result.stderr += "".join((folder / "stderr").read_text() for folder in folders)
    return result


def test_ranks_train_together(longformer: Path, tmp_path: Path) -> None:
    result = together(TOGETHER, "classify", longformer, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    lines = sorted(result.stdout.splitlines())
    # Rank 0 alone hears of saves.
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["False", "True"], lines
    assert lines[0].rsplit(" ", 1)[0] == lines[1].rsplit(" ", 1)[0]
    alone = subprocess.run(
        [sys.executable, "-c", TOGETHER, "classify", str(longformer), str(tmp_path / "one")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert alone.stdout.strip() in lines
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_process_that_waits_for_others_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def join_ranks() -> tuple[int, int, int]:
        time.sleep(0.5)
        return 0, 1, 0

    monkeypatch.setattr(_native._models, "join_ranks", join_ranks)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert _native.rank_and_threads(3) == (0, 3)  # it comes in time
        monkeypatch.setattr(_native, "_LATE_S", 0.05)
        _native.rank_and_threads(None)
    assert [str(one.message) for one in told] == [_native._LATE]


def test_a_rank_that_fails_ends_all(longformer: Path, tmp_path: Path) -> None:
    fails = """
import os
from longspan._native import rank_and_threads
rank_and_threads(None)
if os.environ["OMPI_COMM_WORLD_RANK"] == "1": longspan.train = None
task, model"""
    program = TOGETHER.replace("\ntask, model", fails, 1)
    result = together(program, "classify", longformer, tmp_path / "run")
    assert result.returncode != 0
    assert "'NoneType' object is not callable" in result.stderr
    assert "PeerError: rank 1 on " in result.stderr, result.stderr
    assert "its Python program ends with an exception" in result.stderr


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
