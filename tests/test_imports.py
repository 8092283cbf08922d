"""What an import costs and what it drags in, each in a fresh process."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import specdec

HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy"}
LIGHT_MODULES = (
    "specdec", "specdec.types", "specdec.errors", "specdec.engine", "specdec.cli", "specdec.verify",
    "specdec.bench.plain", "specdec.bench.prompts", "specdec_server", "specdec.remote.load", "specdec_tui.app",
    "specdec_tui.core.engines",
)  # fmt: skip
TRIES = 5


def _imported(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def _seconds(*arguments: str) -> float:
    """Of processor time, which a busy machine hardly changes; the best of a few."""
    times = []
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_stays_light(module: str) -> None:
    assert not _imported(f"import {module}") & HEAVY


def test_public_names_stay_light() -> None:
    assert not _imported("import specdec; specdec.load; specdec.Request; specdec.EngineClosed") & HEAVY


def test_values_do_not_know_the_engine() -> None:
    modules = _imported("import specdec.types, specdec.errors")
    assert {m for m in modules if m.startswith("specdec.") and not m.startswith("specdec.types")} == {"specdec.errors"}


def test_decoding_knows_models_and_drafters_by_their_contracts() -> None:
    """It asks none for its class, and compares none of their names with a text."""
    for path in Path(specdec.__file__).parent.glob("decoding/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("isinstance", "type")
            ):
                kinds = ast.unparse(node.args[-1])
                assert not re.search(r"Model|Drafter|Rounds", kinds), (path, ast.unparse(node))
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                named = [
                    s for s in sides if isinstance(s, ast.Attribute) and s.attr in ("name", "backend", "architecture")
                ]
                texts = [s for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, str)]
                assert not (named and texts), (path, ast.unparse(node))


def test_import_is_fast() -> None:
    assert _seconds("-c", "import specdec") - _seconds("-c", "pass") <= 0.15


def test_help_is_fast() -> None:
    assert _seconds("-m", "specdec", "--help") <= 0.5


def test_every_public_name_is_there() -> None:
    for name in dir(specdec):
        assert getattr(specdec, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        specdec.nothing  # noqa: B018
