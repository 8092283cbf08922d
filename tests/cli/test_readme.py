"""The README: short, and every block does what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from specdec.types import LoadOptions
from tests.cli.conftest import Run
from tests.test_packages import DOCUMENTS, PROJECT, ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```", README)
PROSE = re.sub(r"(?ms)^```.*?^```", "", README)
PYTHON = [code for language, code in BLOCKS if language == "python"]


def _commands() -> Iterator[list[str]]:
    """Every command of the README, in its blocks and in its lines."""
    for line in [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]:
        yield shlex.split(line, comments=True)
    for code in re.findall(r"`((?:specdec|pip|make) [^`]+)`", PROSE):
        yield shlex.split(code)


COMMANDS = list(_commands())


def test_it_is_short() -> None:
    assert len(README.split()) <= 900
    plain = re.sub(r"RTX \d+|Python [\d.]+|`[^`]*`|\([^)]*\)", "", PROSE)
    figures = re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w.-]*\w)", plain)
    assert len(figures) <= 10, figures


FITTING = re.findall(r"\| ([\w ]+) \| `specdec chat --target (\S+) --draft (\S+)`", README)


@pytest.mark.parametrize(("gpu", "target", "draft"), FITTING)
def test_its_models_fit_where_it_says_so(run: Run, gpu: str, target: str, draft: str) -> None:
    assert run("plan", target, "--draft", draft, "--gpu", gpu).exit_code == 0


def _as_far_as_the_model(_options: LoadOptions) -> NoReturn:
    raise typer.Exit


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "specdec"], ids=" ".join)
def test_its_commands_are_taken(run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """Over a scripted engine, whichever model they name; nothing is served and no screen is opened."""
    monkeypatch.setattr("specdec.cli.serve.loaded_apart", _as_far_as_the_model)
    monkeypatch.setattr("specdec.cli.chat._on_screen", lambda: True)
    monkeypatch.setattr("specdec.cli.chat._piped", lambda: "")
    monkeypatch.setattr("specdec_tui.run.run", lambda *_, **__: (0, 0))
    if words[1] == "bench":
        words = [*words, "--limit", "1", "--repeats", "1"]
    if words[1] == "verify":
        words = [*words, "--help"]
    assert run(*words[1:]).exit_code == 0


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] != "specdec"], ids=" ".join)
def test_its_other_commands_name_what_there_is(words: list[str]) -> None:
    if words[0] == "make":
        assert re.search(rf"(?m)^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"))
    else:
        assert words[:3] == ["pip", "install", "-e"]
        extras = re.findall(r"[\w-]+", words[3])
        assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()


def test_its_python_runs_as_it_is_pasted() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(PYTHON)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    story, weather, shop = done.stdout.splitlines()
    assert "fox" in story
    assert weather == "The weather in Oslo is snowy, with 3 degrees."
    assert shop == "The Black Bookshop opens at 9:15 am."


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8")):
        assert (document.parent / link).exists(), link
