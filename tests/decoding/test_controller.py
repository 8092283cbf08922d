"""The controller drafts where it pays, stops where it does not, and comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specdec.decoding.speculation.acceptance import Acceptance
from specdec.decoding.speculation.controller import Controller, Option, Row
from specdec.decoding.speculation.costs import CostCurve

MODEL = Option("model", "model", 16, free=False)


def controller(step: float = 1.0, base: float = 10.0, row: float = 0.5) -> Controller:
    """A target's pass costs base + row * rows, a drafted token costs step (seconds)."""
    made = Controller()
    for rows in (1, 2, 5, 9, 17):
        made.verify_cost.observe(rows, base + row * rows)
    made.draft_costs["model"] = CostCurve()
    for k in (1, 8):
        made.draft_costs["model"].observe(k, step * k)
    return made


def drive(made: Controller, accepts: Callable[[int], int], rounds: int, acceptance: Acceptance) -> list[int]:
    """The lengths chosen over `rounds` rounds in which accepts(k) of k drafts are accepted."""
    lengths = []
    for _ in range(rounds):
        row = Row(acceptance, [MODEL], 100, None)
        (choice,) = made.plan([row])
        lengths.append(choice.length)
        if choice.option:
            made.observe(row.acceptance, choice.option, choice.length, accepts(choice.length))
    return lengths


def test_a_draft_that_agrees_is_used_long() -> None:
    made = controller()
    lengths = drive(made, lambda k: k, 50, Acceptance(made.acceptance))
    assert min(lengths[20:]) >= 8
    assert made.decision.on


def test_a_hostile_draft_is_dropped_and_hardly_probed() -> None:
    made = controller()
    lengths = drive(made, lambda k: 0, 1000, Acceptance(made.acceptance))
    assert sum(map(bool, lengths[:20])) <= 8
    assert sum(map(bool, lengths[20:])) <= 8
    assert (made.decision.on, made.decision.why) == (False, "does not pay")


def test_off_is_not_for_ever() -> None:
    made = controller()
    drive(made, lambda k: 0, 300, Acceptance(made.acceptance))
    lengths = drive(made, lambda k: k, 400, Acceptance(made.acceptance))
    assert min(lengths[-50:]) >= 4


def test_a_draft_that_costs_too_much_is_not_used_however_good() -> None:
    made = controller(step=12.0)
    lengths = drive(made, lambda k: k, 200, Acceptance(made.acceptance))
    assert sum(map(bool, lengths[-100:])) <= 25


def test_time_between_rounds_makes_a_dear_draft_pay() -> None:
    made = controller(step=12.0)
    made.between_cost.observe(1, 50.0)
    lengths = drive(made, lambda k: k, 200, Acceptance(made.acceptance))
    assert min(lengths[-50:]) >= 4


def test_forced_lengths_are_taken_as_they_are() -> None:
    made = controller(step=100.0)
    choices = made.plan([Row(Acceptance(made.acceptance), [MODEL], 3, 8)])
    assert choices[0].length == 3


def test_a_free_source_is_preferred_when_it_is_as_good() -> None:
    made = controller()
    acceptance = Acceptance(made.acceptance)
    lookup = Option("lookup", "lookup/8", 6, free=True)
    (choice,) = made.plan([Row(acceptance, [MODEL, lookup], 100, None)])
    assert choice.option == lookup


def test_costs_are_interpolated_and_robust_to_outliers() -> None:
    curve = CostCurve()
    curve.observe(1, 1.0)
    curve.observe(5, 3.0)
    assert curve.estimate(3) == pytest.approx(2.0)
    assert curve.estimate(9) == pytest.approx(5.0)
    curve.observe(5, 1000.0)
    assert curve.estimate(5) < 3.5


def test_costs_measured_in_a_busy_moment_are_unlearnt() -> None:
    """A machine that was a hundred times slower while it calibrated is not held against drafting for long."""
    made = controller(step=100.0, base=1000.0, row=50.0)
    acceptance = Acceptance(made.acceptance)
    chosen = []
    for _ in range(150):
        (choice,) = made.plan([Row(acceptance, [MODEL], 100, None)])
        chosen.append(choice.length)
        made.verify_cost.observe(choice.length + 1, 10 + 0.5 * (choice.length + 1))
        if choice.option:
            made.draft_costs["model"].observe(choice.length, 1.0 * choice.length)
            made.observe(acceptance, choice.option, choice.length, choice.length)
    assert min(chosen[-10:]) >= 4


class Some:
    """Rounds of a few lengths are ready."""

    def __init__(self, *lengths: int) -> None:
        self.lengths, self.missed = lengths, list[int]()

    def size(self, drafter: str | None, length: int) -> int | None:
        return next((k for k in self.lengths if k >= length), None) if length else 0

    def miss(self, drafter: str | None, length: int) -> None:
        self.missed.append(length)


def test_only_what_is_ready_is_chosen_and_what_would_be_faster_is_noted() -> None:
    made, ready = controller(), Some(2, 4)
    memory = Acceptance(made.acceptance)
    for _ in range(30):
        memory.observe("model", 16, 16)
    choices = [made.plan([Row(memory, [MODEL], 100, None)], ready)[0].length for _ in range(30)]
    assert set(choices) == {4}
    assert set(ready.missed) == {16}


def test_a_round_is_filled_up_where_that_costs_little() -> None:
    made, ready = controller(step=0.01, row=0.01), Some(8)
    memory = Acceptance(made.acceptance)
    for _ in range(30):
        memory.observe("model", 16, 16)
    (choice,) = made.plan([Row(memory, [MODEL], 3, None)], ready)
    assert choice.length == 3
    assert not ready.missed
    (forced,) = made.plan([Row(memory, [MODEL], 100, 9)], ready)
    assert forced.length == 9  # as asked for, whoever runs it
    assert ready.missed == [9]
