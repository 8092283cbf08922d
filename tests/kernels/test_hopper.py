"""The kernels compile for a GPU, where there is none: the interpreter takes code that the compiler refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.test_packed import CASES


def _compiled(kind: str, folder: Path) -> list[list[str]]:
    """What `hopper` prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.hopper", kind],
        env={**os.environ, "TRITON_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "kind", ["llama", *(pytest.param(k, marks=pytest.mark.slow) for k in ("qwen3", "mistral-window"))]
)
def test_kernels_compile(kind: str, tmp_path: Path) -> None:
    lines = _compiled(kind, tmp_path)
    names = {name for name, *_ in lines}
    assert {
        f"specdec.kernels.{name}"
        for name in ("attention._attend", "prompt_attention._attend", "rounds._settle", "heads._share")
    } <= names
    # each share a product that is added, and not one that goes on where the other ended: that is another order
    assert lines[-1] == ["specdec.kernels.prompt_products._product", "1", "1"]


@pytest.mark.slow
def test_packed_weights_compile(tmp_path: Path) -> None:
    """Each form, for few rows and for many."""
    names = [name for name, *_ in _compiled("packed", tmp_path)]
    assert names.count("specdec.kernels.unpack._dense") == len(CASES)
