"""What all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest


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
