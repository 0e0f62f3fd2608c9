"""What all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import longspan

if TYPE_CHECKING:
    from longspan.models import Model


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Run:
    """Runs a text of Python in a process of its own, with this process' packages."""

    def start(text: str, *, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(path for path in sys.path if path)
        return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True,
                              timeout=seconds,
                              env={**os.environ, "PYTHONPATH": paths, **environment})

    return start


# ---- models of every head, tiny and random ------------------------------------------------------

ROBERTA = Path(__file__).resolve().parents[2] / "tests/tokenizers/roberta"


def make_model(folder: Path, **options: Any) -> Path:
    options.setdefault("family", "longformer")
    if options["family"] == "longformer":
        options.setdefault("tokenizer", ROBERTA)
    longspan.init_model(folder, preset="tiny", **options)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    return {
        "mlm": make_model(base / "mlm"),
        "classify": make_model(base / "classify", head="classify", labels=["good", "bad", "ugly"]),
        "ner": make_model(base / "ner", head="token-classify", labels=["O", "B-PER", "I-PER"]),
        "qa": make_model(base / "qa", head="qa"),
        "choice": make_model(base / "choice", head="multiple-choice"),
        "lm": make_model(base / "lm", family="reformer"),
    }


@pytest.fixture(scope="session")
def models(folders: dict[str, Path]) -> dict[str, Model]:
    return {name: longspan.load(folder) for name, folder in folders.items()}
