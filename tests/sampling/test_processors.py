"""Processors against transformers and plain Python; rows and positions against themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from specdec.errors import InvalidRequest
from specdec.sampling import processors
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.noise import Stream
from specdec.sampling.state import SamplerState
from specdec.types import SamplingParams

from .harness import CPU, resolved
from .reference import distribution

NONE = torch.empty(1, 0, dtype=torch.int64)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def _state(
    params: SamplingParams, vocab: int, prompt: tuple[int, ...] = (0,), stops: tuple[int, ...] = ()
) -> SamplerState:
    return SamplerState(params, 1, prompt, frozenset(stops), vocab, CPU)


def _processed(params: SamplingParams, logits: Tensor, prompt: tuple[int, ...] = (0,)) -> Tensor:
    """One row [V] through the whole chain."""
    batch = SamplingBatch([_state(params, logits.shape[-1], prompt)])
    return batch.process(logits.view(1, 1, -1), NONE, 0)[0, 0]


@pytest.mark.parametrize("vocab", [50, 5000])
@pytest.mark.parametrize(
    ("values", "warper"),
    [
        ({"temperature": 0.6}, TemperatureLogitsWarper(0.6)),
        ({"temperature": 3.0}, TemperatureLogitsWarper(3.0)),
        ({"top_k": 1}, TopKLogitsWarper(1)),
        ({"top_k": 40}, TopKLogitsWarper(40)),
        ({"top_k": 10**9}, TopKLogitsWarper(10**9)),
        ({"top_p": 0.1}, TopPLogitsWarper(0.1)),
        ({"top_p": 0.9}, TopPLogitsWarper(0.9)),
        ({"top_p": 0.999}, TopPLogitsWarper(0.999)),
        ({"min_p": 0.05}, MinPLogitsWarper(0.05)),
        ({"min_p": 1.0}, MinPLogitsWarper(1.0)),
        ({"repetition_penalty": 1.3}, RepetitionPenaltyLogitsProcessor(1.3)),
        ({"repetition_penalty": 0.6}, RepetitionPenaltyLogitsProcessor(0.6)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else type(value).__name__,
)
def test_as_transformers(values: dict[str, float], warper: object, vocab: int) -> None:
    prompt = (3, 7, 7, 49)
    for seed in range(5):
        logits = _random(vocab, seed=seed)
        theirs = warper(torch.tensor([prompt]), logits[None].clone())[0].softmax(-1)  # type: ignore[operator]
        ours = _processed(resolved(**values), logits, prompt).softmax(-1)
        differing = (ours == 0) != (theirs == 0)
        # transformers adds up floats, in an order that depends on the CPU: it may miss the nucleus by its last token
        assert differing.sum() <= ("top_p" in values)
        torch.testing.assert_close(ours[~differing], theirs[~differing], rtol=2e-5, atol=1e-9)


def test_the_order_is_that_of_transformers() -> None:
    prompt, logits = (3, 7), _random(500)
    chain = LogitsProcessorList([
        RepetitionPenaltyLogitsProcessor(1.3), TemperatureLogitsWarper(1.7), TopKLogitsWarper(60),
        TopPLogitsWarper(0.8), MinPLogitsWarper(0.02),
    ])  # fmt: skip
    theirs = chain(torch.tensor([prompt]), logits[None].clone())[0].softmax(-1)
    params = resolved(temperature=1.7, top_k=60, top_p=0.8, min_p=0.02, repetition_penalty=1.3)
    ours = _processed(params, logits, prompt).softmax(-1)
    assert torch.equal(ours == 0, theirs == 0)
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-9)


MIXED = [
    resolved(temperature=0),
    resolved(),
    resolved(temperature=0.7),
    resolved(temperature=0, repetition_penalty=1.2),
    resolved(temperature=0.8, top_k=5),
    resolved(temperature=0.8, top_k=90, top_p=0.9),
    resolved(top_p=0.3),
    resolved(top_p=0.99, min_p=0.1),
    resolved(frequency_penalty=1.5, presence_penalty=-0.5),
    resolved(logit_bias={4: 3.0, 11: -100.0}, min_tokens=4),
    resolved(
        temperature=1.4, top_k=30, top_p=0.9, min_p=0.05, repetition_penalty=1.2, presence_penalty=0.3,
        frequency_penalty=0.4, logit_bias={1: 2.0, 6: -1.0}, min_tokens=6,
    ),
]  # fmt: skip
PROMPT, OUTPUT, STOPS = (3, 9, 9, 20), (5, 9, 5), (8, 2)


def _mixed(vocab: int) -> SamplingBatch:
    states = [_state(params, vocab, PROMPT, STOPS) for params in MIXED]
    for state in states:
        state.commit(OUTPUT[:1])
        state.commit(OUTPUT[1:])
    return SamplingBatch(states)


@pytest.mark.parametrize("row", range(len(MIXED)))
def test_the_whole_chain_as_plain_python(row: int) -> None:
    vocab, k = 97, 3
    logits, drafted = _random(len(MIXED), k + 1, vocab), torch.tensor([[5, 20, 0]] * len(MIXED))
    processed = _mixed(vocab).process(logits, drafted, 0)[row]
    for i in range(k + 1):
        output = [*OUTPUT, *drafted[row, :i].tolist()]
        params = MIXED[row] if MIXED[row].temperature else resolved(repetition_penalty=MIXED[row].repetition_penalty)
        exact = torch.tensor(distribution(logits[row, i].tolist(), params, PROMPT, output, STOPS))
        assert processed[i].argmax() == exact.argmax()
        torch.testing.assert_close(processed[i].softmax(-1), exact, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("vocab", [97, 4099])
def test_a_row_is_bit_for_bit_what_it_is_alone(vocab: int) -> None:
    batch, k = _mixed(vocab), 3
    logits, drafted = _random(len(MIXED), k + 1, vocab), torch.tensor([[5, 20, 0]] * len(MIXED))
    together = batch.process(logits, drafted, 0)
    noise = batch.gumbel(range(len(MIXED)), k + 1, Stream.TARGET)
    assert noise is not None
    for row in range(len(MIXED)):
        alone = batch.select([row])
        assert torch.equal(alone.process(logits[row : row + 1], drafted[row : row + 1], 0)[0], together[row])
        own = alone.gumbel([row], k + 1, Stream.TARGET)
        assert torch.equal(torch.zeros_like(noise[row]) if own is None else own[0], noise[row])
    order = [4, 0, 8]
    assert torch.equal(batch.select(order).process(logits[order], drafted[order], 0), together[order])


def test_a_drafted_position_is_what_it_is_without_drafting() -> None:
    """One call over k + 1 positions, a call per draft step, and a call per committed token all agree bit for bit."""
    vocab, k = 97, 3
    logits, drafted = _random(len(MIXED), k + 1, vocab), torch.tensor([[5, 20, 0]] * len(MIXED))
    batch = _mixed(vocab)
    verify = batch.process(logits, drafted, 0)
    for j in range(k + 1):
        assert torch.equal(batch.process(logits[:, j : j + 1], drafted[:, :j], j)[:, 0], verify[:, j])
    for j in range(k + 1):
        nothing = drafted[:, :0]
        assert torch.equal(batch.process(logits[:, j : j + 1], nothing, 0)[:, 0], verify[:, j])
        for state in batch.states:
            state.commit(drafted[0, j : j + 1].tolist())


def test_logits_given_stay_as_they_are() -> None:
    logits = _random(len(MIXED), 2, 97)
    before = logits.clone()
    _mixed(97).process(logits, torch.tensor([[5]] * len(MIXED)), 0)
    assert torch.equal(logits, before)


def test_nothing_to_do_returns_the_logits_themselves() -> None:
    for params in (
        resolved(),
        resolved(temperature=0),
        resolved(temperature=0, top_k=3, top_p=0.5, min_p=0.1),
    ):
        batch, logits = SamplingBatch([_state(params, 50)]), _random(1, 3, 50)
        assert batch.trivial
        assert batch.process(logits, NONE, 0) is logits


def test_the_tiniest_temperature_is_finite() -> None:
    for temperature in (1e-3, 1e-30, 1e-300):
        probs = _processed(resolved(temperature=temperature), _random(50)).softmax(-1)
        assert probs.max() == 1
        assert probs.sum() == 1


def test_ties() -> None:
    logits = torch.tensor([1.0, 2.0, 2.0, 2.0, 0.0])
    kept = _processed(resolved(top_p=0.5), logits) > processors.NEVER
    assert kept.tolist() == [False, True, True, False, False]  # by id: 0.28 each
    kept = _processed(resolved(top_k=2), logits) > processors.NEVER
    assert kept.tolist() == [False, True, True, True, False]
    kept = _processed(resolved(min_p=1.0), logits) > processors.NEVER
    assert kept.tolist() == [False, True, True, True, False]
    assert (_processed(resolved(top_p=1e-300), logits) > processors.NEVER).tolist() == [False, True] + [False] * 3


@pytest.mark.parametrize("scale", [0.0, 0.001, 0.3, 3.0])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.95])
def test_top_p_from_a_few_candidates_is_top_p(scale: float, p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = (_random(2, 2, 5000) * scale).round(decimals=2)  # many ties
    quick = processors.top_p(logits, torch.full((2, 1, 1), p))
    monkeypatch.setattr(processors, "_CANDIDATES", ())
    assert torch.equal(processors.top_p(logits, torch.full((2, 1, 1), p)), quick)


def test_min_tokens_ends_where_it_says() -> None:
    state = _state(resolved(min_tokens=3), 20, stops=(4, 25))
    batch, logits = SamplingBatch([state]), _random(1, 4, 20)
    drafted = torch.tensor([[1, 2, 3]])
    assert (batch.process(logits, drafted, 0)[0, :, 4] == processors.NEVER).tolist() == [
        True,
        True,
        True,
        False,
    ]
    state.commit([7, 7])
    assert (batch.process(logits, drafted, 0)[0, :, 4] == processors.NEVER).tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert torch.equal(batch.process(logits[:, :1], drafted, 1), logits[:, :1])


def test_a_bias_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="logit_bias is 50; expected token ids below 50"):
        _state(resolved(logit_bias={50: 1.0}), 50)


def test_counts_are_kept_only_for_penalties() -> None:
    assert _state(resolved(min_tokens=3, top_k=4), 50).counts is None
    state = _state(resolved(presence_penalty=0.1), 50)
    state.commit([3, 3, 4])
    state.commit([])
    assert state.counts is not None
    assert state.counts[[3, 4, 5]].tolist() == [2, 1, 0]
    assert state.outputs == 3
