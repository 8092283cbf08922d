"""What a score says of speed comes from whole rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from specdec.engine import Deliver
from specdec.errors import EngineFailed
from specdec.training.judging import RoundTimes
from specdec.types import GenerationEvent, Request, Round
from tests.fakes import ScriptedEngine


class Paced(ScriptedEngine):
    """A round without drafts takes 10 ms, each draft 2 ms more; a prompt a second. Answers end after three rounds."""

    now = 0.0
    broken = False

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        assert isinstance(request.speculative, int) and request.sampling.ignore_eos
        *_, last = self.stream(request)
        self.now += 1.0
        deliver(GenerationEvent(request.id))
        if self.broken:
            deliver(EngineFailed("gone"))
        for end in (None, None, last.end):
            self.now += 0.010 + 0.002 * request.speculative
            deliver(replace(last, round=Round("model", (), 0, 0.001, 0.002), end=end))
        return lambda: None


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Paced:
    engine = Paced()
    monkeypatch.setattr("specdec.training.judging.time", SimpleNamespace(perf_counter=lambda: engine.now))
    return engine


def test_rounds_are_timed_whole_and_prompts_are_not(engine: Paced) -> None:
    times = RoundTimes.measured(engine, 7, [5, 6, 7])
    assert {request.speculative for request in engine.requests} == {0, 1, 2, 4, 6, 7}
    assert all(request.prompt == (5, 6, 7) for request in engine.requests)
    assert times.rate(1.0, 0) == pytest.approx(100)
    assert times.rate(3.6, 4) == pytest.approx(200)
    assert times.rate(1.6, 3) == pytest.approx(100), "between what was timed"
    slow = RoundTimes({0: 0.001, 1: 0.005, 2: 0.006})
    assert slow.rate(1.0, 1) == pytest.approx(200), "a draft that takes longer than two tokens without any"


def test_an_engine_that_fails_is_not_waited_for(engine: Paced) -> None:
    engine.broken = True
    with pytest.raises(EngineFailed, match="gone"):
        RoundTimes.measured(engine, 4, [5, 6, 7])
