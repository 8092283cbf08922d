"""How much of a long prompt is computed, for whoever asked."""

from __future__ import annotations

from specdec.engine import Engine
from specdec.types import Request


def prefilled(engine: Engine, request: Request) -> list[float | None]:
    return [event.prefilled for event in engine.stream(request)]


def test_progress_of_a_long_prefill() -> None:
    import specdec

    with specdec.load(context=2048) as engine:
        prompt = tuple(100 + i % 500 for i in range(1200))  # three chunks of 512
        asked = prefilled(engine, Request(prompt, progress=True))
        unasked = prefilled(engine, Request(tuple(reversed(prompt))))
    early = [share for share in asked if share is not None]
    assert early == sorted(early) and len(early) >= 2 and 0 < early[0] < early[-1] < 1
    assert set(unasked) == {None}
