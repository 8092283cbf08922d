"""An engine in a child process keeps the same contract as one in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from specdec.engine import Engine
from specdec.process import ProcessEngine
from tests.engine_contract import EngineContract
from tests.process.factories import held


class TestProcessEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ProcessEngine(held) as engine:
            yield engine
