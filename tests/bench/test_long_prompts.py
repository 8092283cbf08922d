"""What long prompts cost is measured, whatever it is on a busy machine."""

from __future__ import annotations

from specdec.bench.long_prompts import long_prompts
from specdec.types import LoadOptions


def test_costs_of_long_prompts() -> None:
    options = LoadOptions(slots=1, prefix_cache_bytes=0, remember=0)
    told: list[tuple[str, float]] = []
    one, more = long_prompts(options, [80, 700], 4, 1, lambda *done: told.append(done))
    assert told == [("prompts of 80 tokens", 0.0), ("prompts of 700 tokens", 80 / 780)]
    assert (one.tokens, more.tokens) == (80, 700)
    assert more.ttft > one.ttft > 0, "none of it was known"
    for cost in (one, more):
        assert cost.ttft_beside > 0
        assert cost.gap > 0
        assert min(cost.decode, cost.decode_short) > 0
