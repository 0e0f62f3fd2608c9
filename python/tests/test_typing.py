"""Types: the package and a user's code pass mypy --strict, and the stubs are those of the modules."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import longspan

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "longspan"

pytest.importorskip("mypy")


def mypy(*arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"),
         "--follow-imports=silent", "--cache-dir", "/dev/null", *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT / "python",
        env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(ROOT / "python")})
    return result.stdout + result.stderr if result.returncode else ""


def test_package_and_code_of_a_user() -> None:
    # torch and transformers are looked at where they are.
    parts = [path for path in sorted(PACKAGE.rglob("*.py"))
             if importlib.util.find_spec("transformers") is not None
             or path.relative_to(PACKAGE).parts[0] not in ("torch", "hf")]
    assert len(parts) > 15
    assert mypy(*parts, ROOT / "python" / "tests" / "typed_sample.py") == ""


def test_code_of_a_user_that_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import longspan\nlongspan.set_threads('2')\nx: str = longspan.get_threads()\n")
    text = mypy(wrong)
    assert "wrong.py:2" in text and "wrong.py:3" in text


def test_stub_is_of_the_module(tmp_path: Path) -> None:
    pytest.importorskip("nanobind")
    stub = tmp_path / "_core.pyi"
    subprocess.run([sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "longspan._core", "-o",
                    str(stub)], check=True, env={"PYTHONPATH": str(Path(longspan.__file__).parents[1])})
    assert stub.read_text() == (PACKAGE / "_core.pyi").read_text(), (
        f"copy {stub} to python/longspan/_core.pyi")
