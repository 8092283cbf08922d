"""An application over a scripted engine."""

from __future__ import annotations

import pytest

from tests.fakes import ScriptedEngine
from tests.specdec_server.client import AppClient


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def ask(engine: ScriptedEngine) -> AppClient:
    return AppClient(engine)
