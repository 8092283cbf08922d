"""Both engines of the tests, the real one over a toy model and the scripted one, keep the same contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from specdec.engine import Engine
from tests.decoding.toy import toy_engine
from tests.engine_contract import EngineContract
from tests.fakes import SCRIPT, ScriptedEngine


class TestScriptedEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ScriptedEngine(SCRIPT * 30) as engine:
            yield engine


class TestLocalEngine(EngineContract):
    @pytest.fixture(params=[("near",), ("hostile", "lookup"), ()], ids=["near draft", "hostile draft", "no draft"])
    def engine(self, request: pytest.FixtureRequest) -> Iterator[Engine]:
        with toy_engine(*request.param) as engine:
            yield engine
