"""An application over a scripted engine."""

from __future__ import annotations

import pytest

from tests.fakes import ScriptedEngine
from tests.specdec_server.asking import Asker


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def ask(engine: ScriptedEngine) -> Asker:
    return Asker(engine)
