"""How long the chunks of prompts are, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.decoding import prefill as prefill_module
from specdec.decoding.prefill import Prefill
from specdec.decoding.speculation.chunks import STALL, ChunkCosts
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import DraftContext
from specdec.models.loading import load_model
from specdec.models.weights import few_bits
from specdec.types.load import Quantize
from tests.decoding.toy import ToyModel
from tests.models import models


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


@pytest.mark.parametrize("to", ["int8", "int4"])
def test_prompts_in_few_bits_have_the_same_bits_beside_others(
    to: Quantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the slot, and in how many chunks they are read. Of the lengths what is left at the end is as much as a
    round has, few rows, half a block or more of it."""
    monkeypatch.setattr(few_bits, "_faster", lambda *_: True)
    folder = models.save(models.large(num_hidden_layers=2), tmp_path)
    model = load_model(folder, device="cpu", context=800, slots=3, quantize=to)
    found = Prefill(model, ChunkCosts(CostCurve()))
    found._timer.learn = lambda: None  # type: ignore[method-assign]

    def read(rows: list[Any], *, alone: bool) -> Iterator[Tensor]:
        """What their slots hold, and the logits behind them."""
        row: Any
        logits: dict[int, Tensor] = {}
        for row in rows:
            model.state.wipe(row.context.slot)
        while len(logits) < len(rows):
            for row in found.turns([row for row in rows if not row.prefilled], alone=alone):
                last = found.advance(row)
                if last is not None:
                    row.prefilled, logits[row.context.slot] = True, last
        for row in rows:
            held = model.cache.keys_values(row.context.slot, 0, len(row.tokens))  # type: ignore[attr-defined]
            yield torch.cat([*(part.flatten() for part in held), logits[row.context.slot].flatten()])

    lengths = (5, 60, 520), (700, 300, 200)
    with torch.inference_mode():
        for number, group in enumerate(lengths):
            prompts = [models.tokens(1, length)[0].tolist() for length in group]
            monkeypatch.setattr(prefill_module, "STALL", 1e-9)  # any chunk takes longer: the least is read
            together = list(read([_row(slot, tokens) for slot, tokens in enumerate(prompts)], alone=False))
            for tokens, beside, length in zip(prompts, together, group, strict=True):
                (lonely,) = read([_row(number % 3, list(tokens))], alone=True)
                assert torch.equal(lonely, beside), length


def test_a_prompt_waits_for_one_that_begins_alike(prefill: Prefill) -> None:
    """It is not read twice."""
    prefill._target.state.prefixes.limit = 1 << 20
    rows = [_row(0, [1] * 400), _row(1, [1] * 399 + [2])]
    while not rows[0].prefilled:
        assert {slot for slot, _ in _reads(prefill, rows)} == {0}
    prefill._target.state.save(0)
    _reads(prefill, rows)
    assert rows[1].cached == 399


@pytest.mark.parametrize("alone", [False, True])
def test_a_prompt_waits_no_longer_than_for_what_both_begin_with(prefill: Prefill, *, alone: bool) -> None:
    """Such as one system prompt: what another has behind it may take seconds."""
    prefill._target.state.prefixes.limit = 1 << 20
    rows = [_row(0, [1] * 3000), _row(1, [1] * 100 + [2] * 50)]
    assert {slot for slot, _ in _reads(prefill, rows, alone=alone)} == {0}
    assert (1, 150) in _reads(prefill, rows, alone=alone)
    assert (rows[0].prefilled, rows[1].cached) == (False, 100)
