from __future__ import annotations

import pytest

from specdec_tui.core.gauge import Gauge
from specdec_tui.widgets.figures import first_token
from specdec_tui.widgets.gauge_body import _acceptance
from tests.specdec_tui.events import event, token


def test_rates_are_counted_from_tokens_not_events() -> None:
    gauge = Gauge(0.0)
    for i in range(11):
        gauge.add(event([token("a")] * 5), 1.0 + i * 0.1)
    reading = gauge.read(2.0)
    assert reading.tokens == 55
    assert reading.mean == pytest.approx(54)
    assert reading.now == pytest.approx(50)  # the first event is a second old
    assert reading.ttft == pytest.approx(1.0)


def test_a_long_wait_is_told_in_seconds() -> None:
    assert [first_token(seconds) for seconds in (0.0104, 0.189, 24.42)] == ["10.4 ms", "189 ms", "24.4 s"]


def test_now_falls_to_nothing_when_nothing_comes() -> None:
    gauge = Gauge(0.0)
    gauge.add(event([token("a")]), 0.1)
    assert gauge.read(0.2).now > 0
    assert gauge.read(1.3).now == 0


def test_positions_are_conditional() -> None:
    """A draft behind a rejected one was never looked at, so it says nothing about its position."""
    gauge = Gauge(0.0)
    gauge.add(event([token("a")], [1, 2, 3], 0), 0.1)
    gauge.add(event([token("a")], [1, 2, 3], 1), 0.2)
    gauge.add(event([token("a")], [1, 2, 3], 3), 0.3)
    reading = gauge.read(1.0)
    assert reading.stats.acceptance_per_position == pytest.approx((2 / 3, 1 / 2, 1.0))
    assert (reading.stats.drafted, reading.stats.accepted, reading.stats.rounds) == (9, 4, 3)
    assert reading.stats.acceptance_length == pytest.approx(1 + 4 / 3)
    assert reading.chosen == (3, 3, 3)


def test_the_engine_s_own_times_count_at_the_end() -> None:
    gauge = Gauge(0.0)
    gauge.add(event([token("a")] * 3, last=True), 9.0)
    reading = gauge.read(9.0)
    assert (reading.running, reading.ttft, reading.mean) == (False, 0.5, 2.0)
    assert reading.usage is not None
    assert reading.usage.cached_tokens == 3


def test_accepted_tokens_by_drafter() -> None:
    gauge = Gauge(0.0)
    gauge.add(event([token("a")], [1, 2], 2, drafter="lookup"), 0.1)
    gauge.add(event([token("a")], [1], 1, drafter="model"), 0.2)
    drafters = gauge.read(1.0).stats.drafters
    assert [(d.drafter, sum(d.accepted)) for d in drafters] == [("lookup", 2), ("model", 1)]


def test_nothing_yet_is_no_error() -> None:
    reading = Gauge(5.0).read(5.0)
    assert (reading.mean, reading.now, reading.ttft, reading.stats.acceptance_rate) == (0, 0, None, None)


def test_every_position_of_a_block_is_shown() -> None:
    gauge = Gauge(0.0)
    gauge.add(event([token("a")], [*range(15)], 15, drafter="dflash"), 0.1)
    text = "\n".join(
        "".join(part if isinstance(part, str) else part[0] for part in line)
        for line in _acceptance(gauge.read(1.0).stats, 10)
    )
    assert "  7-15   " + "█" * 9 in text
