"""The kernels compile for a GPU, where there is none: the interpreter takes code that the compiler refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "kind", ["llama", *(pytest.param(k, marks=pytest.mark.slow) for k in ("qwen3", "mistral-window"))]
)
def test_kernels_compile(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.hopper", kind],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    names = {name for name, *_ in lines}
    assert {f"specdec.kernels.{name}" for name in ("attention._attend", "prompts._attend", "rounds._settle")} <= names
    # two products that are added, and not one that goes on where the other ended: that is another order
    assert lines[-1] == ["specdec.kernels.prompts._product", "2", "1"]
