"""A draft model reads a long prompt after the first token, in chunks, and only where drafts will pay for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from specdec.decoding.engine import LocalEngine
from specdec.decoding.speculation.controller import Controller
from specdec.drafters.base import Drafter
from specdec.drafters.model import DraftModelDrafter
from specdec.models.base import Batch, Model, Pass
from tests.decoding.toy import ToyModel, toy_engine

PROMPT = [i % 250 for i in range(1500)]
OPTIONS: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


@pytest.fixture(autouse=True)
def _costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass takes 10 ms, a draft 1 ms, and a token to read 0.1 ms."""

    def costs(target: Model, drafters: Sequence[Drafter], controller: Controller) -> None:
        for rows in (1, 17):
            controller.verify_cost.observe(rows, 0.01)
        for steps in (1, 16):
            controller.draft_costs["model"].observe(steps, steps * 0.001)
        for size in (32, 256):
            controller.read_costs["model"].observe(size, 0, size * 0.0001)

    monkeypatch.setattr("specdec.decoding.engine.calibrate", costs)


def _engine(kind: str) -> tuple[LocalEngine, list[int]]:
    """With a draft model of this kind, and what it reads at once. Costs stay as they are."""
    engine = toy_engine(kind, target=ToyModel(slots=2, context=2048))
    known = engine._controller
    for curve in (known.verify_cost, known.draft_costs["model"], known.between_cost):
        curve.observe = lambda size, seconds: None  # type: ignore[method-assign]
    (drafter,) = engine._rounds.observers
    assert isinstance(drafter, DraftModelDrafter)
    widths: list[int] = []
    run = drafter.model.run

    def noting(batch: Batch) -> Pass:
        widths.append(batch.tokens.shape[1])
        return run(batch)

    drafter.model.run = noting  # type: ignore[method-assign]
    return engine, widths


def test_a_draft_model_that_pays_reads_in_chunks_after_the_first_token() -> None:
    engine, widths = _engine("perfect")
    with engine:
        plain = engine.generate(PROMPT, **OPTIONS, max_tokens=100, speculative="off")
        assert not widths
        fast = engine.generate(PROMPT, **OPTIONS, max_tokens=100)
    assert fast.token_ids == plain.token_ids
    assert fast.stats.accepted > 50
    assert fast.stats.decisions[0].length == 0
    chunks = [width for width in widths if width > 17]
    assert max(chunks) <= 512
    assert 1490 <= sum(chunks) <= 1520


def test_a_draft_model_that_is_hardly_ever_right_does_not_read() -> None:
    engine, widths = _engine("hostile")
    with engine:
        answer = engine.generate(PROMPT, **OPTIONS, max_tokens=100)
    assert not widths
    assert answer.stats.drafted == 0
    assert "has not read the prompt: that takes more than it saves" in str(answer.stats.speculation)


def test_a_draft_model_that_cannot_hold_the_sequence_says_so() -> None:
    engine, widths = _engine("perfect")
    (drafter,) = engine._rounds.observers
    assert isinstance(drafter, DraftModelDrafter)
    drafter.model.info = replace(drafter.model.info, context=1000)  # type: ignore[misc]
    with engine:
        answer = engine.generate(PROMPT, **OPTIONS, max_tokens=20)
    assert not widths
    assert str(answer.stats.speculation) == "off: the draft model cannot hold as many tokens"


def test_without_memory_to_read_the_answer_goes_on_without_drafts() -> None:
    engine, widths = _engine("perfect")
    (drafter,) = engine._rounds.observers
    assert isinstance(drafter, DraftModelDrafter)
    run = drafter.model.run

    def short(batch: Batch) -> Pass:
        run(batch)
        raise torch.OutOfMemoryError

    drafter.model.run = short  # type: ignore[method-assign]
    with engine:
        answer = engine.generate(PROMPT, **OPTIONS, max_tokens=100)
        assert len(widths) == 1
        assert str(answer.stats.speculation) == "off: no memory is left for the draft model"
        short_prompt = engine.generate(PROMPT[:9], **OPTIONS, max_tokens=20, speculative=4)
        assert (len(widths), short_prompt.stats.drafted, len(short_prompt.token_ids)) == (2, 0, 20)
        drafter.model.run = run  # type: ignore[method-assign]
        assert engine.generate(PROMPT, **OPTIONS, max_tokens=100).stats.accepted > 50
    assert len(answer.token_ids) == 100


def test_nothing_is_read_for_a_short_answer_unless_drafts_were_asked_for() -> None:
    engine, widths = _engine("perfect")
    with engine:
        engine.generate(PROMPT, **OPTIONS, max_tokens=10)
        assert not widths
        asked = engine.generate(PROMPT, **OPTIONS, max_tokens=30, speculative=4)
    assert sum(widths) > 1490
    assert asked.stats.accepted > 10


def test_a_draft_model_is_tried_at_load() -> None:
    rates = {}
    for kind in ("perfect", "near", "hostile"):
        with toy_engine(kind) as engine:
            rates[kind] = engine._controller.acceptance.estimate("model").rates[0]
    assert rates["perfect"] > 0.9 > rates["near"] > 0.3 > rates["hostile"]
