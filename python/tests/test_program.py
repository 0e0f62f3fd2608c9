"""What the program and the package say of one folder: the same numbers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan.models import Model  # noqa: E402

TEXTS = ["She walked to the sea, and the sea was grey.", "A house.", "It rained all day. " * 60]
# Numbers of JSON may be rounded by this.
PRINTED = 1e-6


def program() -> Path:
    """That of the build whose package this is, or of the package itself."""
    package = Path(longspan.__file__).parent
    found = [path for path in (package.parents[1] / "longspan", package / "_bin/longspan")
             if path.is_file()]  # fmt: skip
    if not found:
        pytest.skip("the program is not built")
    return found[0]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return file


def ask(*words: object) -> str:
    command = [str(program()), *map(str, words), "-q"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def results(*words: object) -> Any:
    return json.loads(ask(*words, "--json"))["results"]


def test_classes(models: dict[str, Model], texts: Path) -> None:
    model = models["classify"]
    said = results("classify", "-m", model.path, texts, "--top", 2)
    assert len(said) == len(TEXTS)
    for theirs, ours in zip(said, model.classify(TEXTS, top=2)):
        assert [one["label"] for one in theirs["labels"]] == list(ours.scores)
        scores = [one["score"] for one in theirs["labels"]]
        assert scores == pytest.approx(list(ours.scores.values()), abs=PRINTED)


def test_vectors_and_what_is_similar(models: dict[str, Model], texts: Path) -> None:
    model = models["mlm"]
    file = texts.with_name("vectors.npy")
    ask("embed", "-m", model.path, texts, "-o", file)
    ours = model.encode(TEXTS)
    assert np.array_equal(np.load(file), ours)
    said = results("similar", "-m", model.path, texts, "--among", texts, "--matrix")
    theirs = np.array([one["scores"] for one in said])
    assert theirs == pytest.approx(model.similarity(ours, ours), abs=PRINTED)


def test_relevance(texts: Path, tmp_path: Path) -> None:
    pairs = longspan.init_model(
        tmp_path / "pairs", family="longformer", preset="tiny", head="classify", labels=["score"],
        tokenizer=Path(__file__).resolve().parents[2] / "tests/tokenizers/roberta",
    )  # fmt: skip
    said = results("rerank", "-m", pairs.path, "--top", 2, "who went to sea?", texts)
    ours = pairs.load().rerank("who went to sea?", TEXTS, top=2)
    assert [one["input"] for one in said] == [f"{texts}:{one.index + 1}" for one in ours]
    for name in ("score", "logit"):
        numbers = [getattr(one, name) for one in ours]
        assert [one[name] for one in said] == pytest.approx(numbers, abs=PRINTED)
