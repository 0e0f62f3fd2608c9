"""examples/python/ run on tiny models."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/python"
ROBERTA = ROOT / "tests/tokenizers/roberta"

if not EXAMPLES.is_dir() or not ROBERTA.is_dir():
    pytest.skip("the examples are not in this tree", allow_module_level=True)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    longspan.init_model(folder, family="longformer", preset="tiny", tokenizer=ROBERTA)
    return str(folder)


@pytest.fixture
def texts(tmp_path: Path) -> str:
    for name, text in (("sea", "The sea was grey."), ("rain", "It rained. " * 500)):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    return str(tmp_path / "texts")


def test_embed_folder(model: str, texts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("embed_folder").main([model, texts, "The sea was grey."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0] == f"1.0000  {texts}/sea.txt"
    assert example("embed_folder").main(["nowhere", texts, "a"]) == 4
    assert capsys.readouterr().err.startswith("embed_folder: nowhere")


def test_ranks_embed(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("It rained.\nThe sea was grey.\nShe waited.\n")
    words = [model, str(lines), str(tmp_path / "out")]
    for rank, ranks in (("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
                        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")):  # fmt: skip
        for number in (0, 1):
            monkeypatch.setenv(rank, str(number))
            monkeypatch.setenv(ranks, "2")
            assert example("ranks_embed").main(words) == 0
        assert example("ranks_embed").main([*words, "--join", "2"]) == 0
        vectors = longspan.load(model).encode_document(lines.read_text().splitlines())
        assert np.array_equal(np.load(tmp_path / "out/all.npy"), vectors)
        (tmp_path / "out/all.npy").unlink()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")  # it has no line
    assert example("ranks_embed").main(words) == 0
    assert np.load(tmp_path / "out/3-of-4.npy").shape == (0, vectors.shape[1])


def test_classify(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("classify").main([model, str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("update ") and lines[-1].split()[0] in ("glad", "sad")


def test_train_tasks(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("train_tasks").main([model, str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert names == ["tags", "answer", "choice", "vectors", "relevance"]
    assert (tmp_path / "rerank" / "model.safetensors").is_file()


@pytest.mark.parametrize("function", ["train", "evaluate", "Model.encode"])
def test_docstrings(
    model: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples at the end of docstrings run where the folders that they name are."""
    found: Any = longspan
    for part in function.split("."):
        found = getattr(found, part)
    text = inspect.getdoc(found)
    assert text is not None and "\n\n    " in text
    code = textwrap.dedent(text[text.rindex("\n\n    ") :])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long").symlink_to(model)
    words = "Anne B-PER\nwalked O\n\nIt O\nrained O\n"
    (tmp_path / "test.conll").write_text(words)
    if function == "evaluate":
        longspan.train("token-classify", "long", "tagger", train="test.conll", eval="test.conll",
                       steps=1)  # fmt: skip
    exec(code, {"longspan": longspan})


def test_ask_models(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(folders[name]) for name in ("classify", "qa", "lm")]
    assert example("ask_models").main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] in ("good", "bad", "ugly") and lines[-2].split()[0] == lines[0].split()[0]


def test_attention(capsys: pytest.CaptureFixture[str]) -> None:
    example("attention").main(["600"])
    assert "sums to 1.0000 of the outputs" in capsys.readouterr().out


@pytest.mark.full
def test_torch_layer(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    example("torch_layer").main(["256"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "compiled, the same: True"
    assert float(lines[-2].split()[-1]) < 0.5 * float(lines[0].split()[-1])


@pytest.mark.full
def test_ray_embed(
    model: str, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    # Workers find the package, and the example, as this process does.
    paths = os.pathsep.join([str(EXAMPLES), *sys.path])
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=3, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    try:
        output = tmp_path / "vectors"
        assert importlib.import_module("ray_embed").main([model, texts, str(output), "1"]) == 0
    finally:
        ray.shutdown()
    rows = parquet.read_table(str(output)).to_pylist()
    assert {Path(row["path"]).name for row in rows} == {"sea.txt", "rain.txt"}
    assert all(len(row["vector"]) == 128 for row in rows)
