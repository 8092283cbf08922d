"""An LLM over scripted answers, where understanding is not the point, and one over the bundled pair, where it is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from llama_index.llms.specdec import SpecDec
from tests.fakes import ScriptedEngine


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here may reach for the network, whatever the framework thinks it needs."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def scripted() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
def llm(scripted: ScriptedEngine) -> SpecDec:
    return SpecDec(engine=scripted)


@pytest.fixture(scope="session")
def bundled() -> SpecDec:
    """The bundled pair, greedy."""
    return SpecDec(temperature=0, max_tokens=120)
