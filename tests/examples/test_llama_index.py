"""The LlamaIndex examples run as they stand, and say something sensible."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


Output = Callable[..., str]


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Output:
    """What an example prints, called with these arguments."""

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("llama_index_*.py"))])
def test_examples_are_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 60


def test_the_query_engine_answers_and_quotes(output: Output) -> None:
    said = output("llama_index_query_engine.py")
    assert "A ticket for the science fair costs 7 euros.\n  events.md:" in said
    assert 'shops.md: "The Black Bookshop belongs to Mina Adeyemi."' in said
    assert 'animals.md: "The only enemy of the silver marten is the grey owl."' in said


def test_the_query_engine_reads_other_files(output: Output, tmp_path: Path) -> None:
    (tmp_path / "lamp.md").write_text(
        "# Lamps\n\n## The Orla lamp\n\nThe Orla lamp costs 12 euros. It is made of glass.\n"
    )
    (tmp_path / "notes.txt").write_text("Not Markdown.")
    said = output(
        "llama_index_query_engine.py",
        "--docs",
        str(tmp_path),
        "--question",
        "How much does the Orla lamp cost?",
    )
    assert 'lamp.md: "The Orla lamp costs 12 euros."' in said


def test_the_agent_calls_its_tools() -> None:
    """In a process of its own: it brings an event loop, and the framework warns of its own use of pydantic."""
    command = [sys.executable, "-W", "error::UserWarning", str(EXAMPLES / "llama_index_agent.py")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "get_weather({'city': 'Oslo'})" in said
    assert "4 degrees" in said
    assert "get_time({'city': 'Lima'})" in said
    assert "9:20" in said
