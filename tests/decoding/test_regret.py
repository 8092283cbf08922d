"""The controller against the best fixed number of drafts, over recorded costs and texts that shift."""

from __future__ import annotations

import pytest

from specdec.decoding.speculation.controller import Controller
from tests.decoding.simulator import COPY, CPU, GPU, HOSTILE, PROSE, Machine, Simulation, Text

WORKLOADS = {
    "copy": [COPY] * 8,
    "prose": [PROSE] * 8,
    "hostile": [HOSTILE] * 8,
    "shifting": [*[COPY] * 5, *[PROSE] * 5, *[HOSTILE] * 5],
    "mixed": [COPY, PROSE, HOSTILE] * 4,
}
FIXED = (0, 1, 2, 4, 8)


@pytest.mark.parametrize("slots", [1, 8])
@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("texts", WORKLOADS.values(), ids=WORKLOADS)
def test_regret_is_small(machine: Machine, texts: list[Text], slots: int) -> None:
    served = [*texts, *texts[:slots]]
    best = max(Simulation(machine, k).serve(served, slots) for k in FIXED)
    assert Simulation(machine, None).serve(served, slots) >= 0.95 * best


def test_the_same_seed_gives_the_same_figures() -> None:
    first, second = (Simulation(CPU, None, seed=3).serve([PROSE, COPY] * 2, 2) for _ in range(2))
    assert first == second


def test_a_controller_that_never_drafts_is_found_out() -> None:
    """The test can fail: where drafting pays, plain is far behind."""
    assert Simulation(GPU, 0).serve([COPY] * 4, 1) < 0.5 * Simulation(GPU, None).serve([COPY] * 4, 1)


def test_more_rows_draft_less() -> None:
    def drafted(slots: int) -> float:
        simulation = Simulation(CPU, None)
        simulation.serve([PROSE] * (slots + 6), slots)
        return simulation.drafted / simulation.rows

    assert drafted(8) < 0.5 * drafted(1)


def test_a_draft_that_is_hardly_ever_right_is_warned_of() -> None:
    def warning(text: Text) -> str | None:
        simulation = Simulation(GPU, 2)
        simulation.serve([text] * 3, 1)
        return simulation.controller.warning

    assert "low acceptance" in (warning(HOSTILE) or "")
    assert warning(PROSE) is None
    assert Controller().warning is None
