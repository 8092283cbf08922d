"""What the rounds of one answer add up to."""

from __future__ import annotations

import pytest

from specdec.decoding.speculation.stats import StatsBuilder
from specdec.types import Round, Speculation


def test_rounds_add_up_by_drafter_and_position() -> None:
    built = StatsBuilder()
    for drafter, drafted, accepted in (
        ("model", 3, 0), ("model", 3, 2), ("lookup", 1, 1), (None, 0, 0), ("model", 1, 1)
    ):  # fmt: skip
        built.add(Round(drafter, (7,) * drafted, accepted, 0.0, 0.0), Speculation(), 0.0)
    stats = built.build(Speculation(), None)
    assert stats.rounds == 5
    assert [(d.drafter, d.drafted, d.accepted, d.tested) for d in stats.drafters] == [
        ("lookup", (1,), (1,), (1,)),
        ("model", (3, 2, 2), (2, 1, 0), (3, 1, 1)),
    ]
    assert stats.acceptance_per_position == pytest.approx((3 / 4, 1.0, 0.0))
