"""How much of a long prompt is computed, for whoever asked."""

from __future__ import annotations

import pytest

from specdec.engine import Engine
from specdec.types import Request
from tests.decoding.toy import ToyModel, toy_engine


def prefilled(engine: Engine, request: Request) -> list[float | None]:
    return [event.prefilled for event in engine.stream(request)]


def test_progress_of_a_long_prefill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.decoding.prefill._LONGEST_ON_CPU", 128)
    with toy_engine("near", target=ToyModel(context=512)) as engine:
        prompt = tuple(i % 250 for i in range(300))  # three chunks
        asked = prefilled(engine, Request(prompt, progress=True))
        unasked = prefilled(engine, Request(tuple(reversed(prompt))))
    early = [share for share in asked if share is not None]
    assert early == sorted(early) and len(early) >= 2 and 0 < early[0] < early[-1] < 1
    assert set(unasked) == {None}
