"""How long the chunks of prompts are, and whose turn it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from specdec.decoding.prefill import Prefill
from specdec.decoding.speculation.chunks import STALL, ChunkCosts
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import DraftContext
from tests.decoding.toy import ToyModel


def _costs() -> ChunkCosts:
    """Short passes all take the same: on a GPU the weights are read once."""
    guess = CostCurve()
    for size in (1, 16):
        guess.observe(size, 0.005)
    return ChunkCosts(guess)


def test_a_first_chunk_is_short_whatever_short_passes_took() -> None:
    assert _costs().longest(0, STALL, 2048) == 256


def test_chunks_grow_with_what_was_measured() -> None:
    costs, sizes = _costs(), []
    for size, seconds in ((256, 0.008), (512, 0.012), (1024, 0.018), (2048, 0.04)):
        costs.observe(size, 0, seconds)
        sizes.append(costs.longest(0, STALL, 2048))
    assert sizes == [512, 1024, 2048, 1536]


def test_behind_a_long_prompt_a_chunk_takes_longer() -> None:
    costs = _costs()
    costs.observe(256, 0, 0.01)
    costs.observe(1024, 0, 0.016)
    assert costs.longest(30_000, STALL, 2048) == 256  # nothing is known of what lies before
    costs.observe(256, 30_000, 0.02)
    near, far = costs.longest(0, STALL, 2048), costs.longest(30_000, STALL, 2048)
    assert near == 2048
    assert far == 512
    assert costs.estimate(512, 30_000) == pytest.approx(0.012 + 2 * 0.01)
    assert costs.total(0, 60_000) == pytest.approx(60_000 / 1024 * costs.estimate(1024, 30_000))


def test_a_size_that_fills_a_gpu_badly_is_left_out_where_it_takes_too_long() -> None:
    """Attention to what lies before takes whole waves of 512 tokens; 768 are two."""
    costs = _costs()

    def seconds(size: int, start: int) -> float:
        return size * 25e-6 + -(-size // 512) * start * 0.5e-6

    for known in (256, 512, 1024):
        costs.observe(known, 0, seconds(known, 0))
    start, chosen = 2560, list[int]()
    while start < 32_000:
        size = costs.longest(start, STALL, 2048)
        assert size is not None
        chosen.append(size)
        if len(chosen) > 1:  # of the first one behind a long prompt nothing is known
            assert seconds(size, start) <= STALL
        costs.observe(size, start, seconds(size, start))
        start += size
    assert chosen[1] >= 512
    assert chosen[-1] == 512


def _row(number: int, tokens: list[int]) -> Any:
    context = DraftContext(number, number, tokens, len(tokens))
    return SimpleNamespace(
        request=SimpleNamespace(priority=0),
        turn=0,
        paused=False,
        context=context,
        tokens=tokens,
        cached=None,
        prefilled=False,
    )


def _reads(prefill: Prefill, rows: list[Any], *, alone: bool = False) -> list[tuple[int, int]]:
    """One step: who read, and up to where."""
    read = []
    row: Any
    for row in prefill.turns([row for row in rows if not row.prefilled], alone=alone):
        row.prefilled = prefill.advance(row) is not None
        read.append((row.context.slot, prefill._target.state.slots[row.context.slot].length))
    return read


@pytest.fixture
def prefill() -> Prefill:
    """A chunk takes a hundredth of a second for each 128 tokens."""
    guess = CostCurve()
    for size in (1, 1024):
        guess.observe(size, size / 12800)
    found = Prefill(ToyModel(slots=3, context=4096), ChunkCosts(guess))
    found._timer.learn = lambda: None  # type: ignore[method-assign]
    return found


def test_prompts_take_turns_beside_an_answer(prefill: Prefill) -> None:
    rows = [_row(0, [1] * 1000), _row(1, [2] * 300)]
    steps = [_reads(prefill, rows) for _ in range(3)]
    assert steps == [[(0, 256), (1, 128)], [(0, 512), (1, 256)], [(0, 768), (1, 300)]]
    assert [row.prefilled for row in rows] == [False, True]


def test_a_prompt_alone_is_read_in_the_longest_chunks(prefill: Prefill) -> None:
    rows = [_row(0, [1] * 1000), _row(1, [2] * 300)]
    assert _reads(prefill, rows, alone=True) == [(0, 512)]
    assert _reads(prefill, rows, alone=True)[0] == (1, 300)


def test_a_prompt_waits_for_one_that_begins_alike(prefill: Prefill) -> None:
    """It is not read twice."""
    prefill._target.state.prefixes.limit = 1 << 20
    rows = [_row(0, [1] * 400), _row(1, [1] * 399 + [2])]
    while not rows[0].prefilled:
        assert {slot for slot, _ in _reads(prefill, rows)} == {0}
    prefill._target.state.save(0)
    _reads(prefill, rows)
    assert rows[1].cached == 399
