"""Runs commands in this process, over a scripted engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from specdec.cli import app, screen
from specdec.engine import Progress
from specdec.types import LoadOptions
from tests.fakes import ScriptedEngine

Run = Callable[..., Result]


class Loader:
    """Stands in for `load_engine`; remembers what it was asked for."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        self.calls: list[LoadOptions] = []

    def __call__(self, options: LoadOptions, progress: Progress) -> ScriptedEngine:
        progress("target", 0.5)
        self.calls.append(options)
        return self.engine


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    loader = Loader()
    monkeypatch.setattr(screen, "load_engine", loader)
    return loader


@pytest.fixture
def run(loader: Loader) -> Run:
    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=stdin)

    return run
