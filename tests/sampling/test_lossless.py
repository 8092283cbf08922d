"""What comes out of drafting and verifying is distributed as the target alone, after every sampling parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from specdec.sampling import accept
from specdec.sampling.accept import Verdict
from specdec.sampling.noise import Stream
from specdec.types import SamplingParams

from .harness import COUPLED, REJECTION, RULES, Round, Rule, Simulation, Toy, resolved
from .reference import joint, p_value

ALIKE = 1e-3
"""Seeds are fixed: a sound rule passes for ever."""
UNLIKE = 1e-9
"""A biased rule must be this improbable."""


def _toy(seed: int, *shape: int, scale: float = 1.5) -> Toy:
    return Toy(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale)


def _counts(tokens: Tensor, vocab: int) -> np.ndarray:
    """How often each output [B, length] occurred, in the order of `reference.joint`."""
    code = torch.zeros(tokens.shape[0], dtype=torch.int64)
    for column in tokens.T:
        code = code * vocab + column
    return torch.bincount(code, minlength=vocab ** tokens.shape[1]).numpy()


# Wide: many tokens, every position on its own.


def _wide(rule: Rule, vocab: int, k: int, temperature: float) -> None:
    length = k + 1
    target, other = _toy(1, length, 1, vocab), _toy(2, length, 1, vocab)
    draft = Toy(0.7 * target.tables + 0.7 * other.tables)
    simulation = Simulation(target, draft, resolved(temperature=temperature), k, length, rule)
    tokens = simulation.run(range(10 * vocab), chunk=256)
    assert 0.05 < simulation.accepted / simulation.drafted < 0.95
    for position in range(length):
        exact = (target.tables[position, 0].double() / temperature).softmax(-1).numpy()
        assert p_value(_counts(tokens[:, position : position + 1], vocab), exact) > ALIKE


@pytest.mark.parametrize(("k", "temperature"), [(1, 1.0), (3, 0.6)])  # the others in 4096 tokens, below
@pytest.mark.parametrize("rule", RULES)
def test_wide(rule: str, k: int, temperature: float) -> None:
    _wide(RULES[rule], 512, k, temperature)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("rule", RULES)
def test_wide_4096(rule: str, k: int, temperature: float) -> None:
    _wide(RULES[rule], 4096, k, temperature)


# Narrow: few tokens, many trials, a draft model that likes what the target does not.


def _narrow(rule: Rule, trials: int = 100_000, k: int = 2, certain: bool = False, ragged: bool = False) -> float:
    vocab = 16
    target = _toy(3, 1, vocab, vocab, scale=0.8)
    draft = Toy(-target.tables)
    params = resolved(temperature=1.0)
    simulation = Simulation(target, draft, params, k, 2, rule, certain=certain, ragged=ragged)
    tokens = simulation.run(range(trials), chunk=20_000)
    exact = joint(lambda output: target.raw(output, 0), params, (0,), (), vocab, 2)
    return p_value(_counts(tokens, vocab), exact)


@pytest.mark.parametrize("rule", RULES)
def test_narrow(rule: str) -> None:
    assert _narrow(RULES[rule]) > ALIKE


@pytest.mark.parametrize("rule", RULES)
def test_drafts_of_uneven_length(rule: str) -> None:
    assert _narrow(RULES[rule], trials=50_000, ragged=True) > ALIKE


def _one_hot(r: Round) -> Verdict:
    return REJECTION.verdict(replace(r, probs=torch.zeros_like(r.probs).scatter_(-1, r.drafted.unsqueeze(-1), 1.0)))


def _without_probs(r: Round) -> Verdict:
    noise = r.batch.gumbel(r.positions, r.logits.shape[1], Stream.RESIDUAL)
    uniform = r.batch.uniform(r.positions, r.drafted.shape[1])
    verdict = accept.rejection(r.logits, r.drafted, r.lengths, None, uniform, noise)
    same = _one_hot(r)
    assert torch.equal(verdict.accepted, same.accepted)
    assert torch.equal(verdict.tokens, same.tokens)
    return verdict


@pytest.mark.parametrize("rule", [COUPLED, Rule(Stream.DRAFT, _without_probs)], ids=["coupled", "rejection"])
def test_certain_proposals(rule: Rule) -> None:
    assert _narrow(rule, trials=50_000, certain=True) > ALIKE


# Negative controls: rules that are wrong in ways that were shipped must fail the same test.


def _noise(r: Round, stream: Stream) -> Tensor:
    noise = r.batch.gumbel(r.positions, r.logits.shape[1], stream)
    assert noise is not None
    return noise


def _shared_residual_noise(r: Round) -> Verdict:
    """The recovered token is drawn with the drafter's noise."""
    uniform = r.batch.uniform(r.positions, r.drafted.shape[1])
    return accept.rejection(r.logits, r.drafted, r.lengths, r.probs, uniform, _noise(r, Stream.DRAFT))


def _recovered_from_p(r: Round) -> Verdict:
    """Accepts with min(1, p / q), but takes the recovered token from p instead of the residual."""
    uniform = r.batch.uniform(r.positions, r.drafted.shape[1])
    verdict = accept.rejection(r.logits, r.drafted, r.lengths, r.probs, uniform, _noise(r, Stream.RESIDUAL))
    own = (r.logits + _noise(r, Stream.RESIDUAL)).argmax(-1).gather(1, verdict.accepted.unsqueeze(1))
    return Verdict(verdict.tokens.scatter(1, verdict.accepted.unsqueeze(1), own), verdict.accepted)


def _reused_accept_draw(r: Round) -> Verdict:
    """The recovered token is found by inverse CDF with the number that refused the draft."""
    uniform = r.batch.uniform(r.positions, r.drafted.shape[1])
    verdict = accept.rejection(r.logits, r.drafted, r.lengths, r.probs, uniform, _noise(r, Stream.RESIDUAL))
    residual = (r.logits[:, :-1].softmax(-1) - r.probs).clamp(min=0).cumsum(-1)
    found = (residual < uniform.unsqueeze(-1) * residual[..., -1:]).sum(-1).clamp(max=r.logits.shape[-1] - 1)
    column = verdict.accepted.unsqueeze(1)
    own = torch.cat([found, verdict.tokens[:, -1:]], 1).gather(1, column)
    return Verdict(verdict.tokens.scatter(1, column, own), verdict.accepted)


def _stale_q(r: Round) -> Verdict:
    """q is kept in a lower precision than the drafts were drawn from."""
    return REJECTION.verdict(replace(r, probs=(r.probs * 16).round() / 16))


def _uncoupled_typical(r: Round) -> Verdict:
    """Accepts any draft that the target finds likely enough."""
    verdict = COUPLED.verdict(r)
    likely = r.logits[:, :-1].softmax(-1).gather(-1, r.drafted.unsqueeze(-1)).squeeze(-1) > 0.05
    accepted = likely.long().cumprod(1).sum(1)
    tokens = torch.where(torch.arange(r.logits.shape[1]) < accepted.unsqueeze(1), _padded(r.drafted), verdict.tokens)
    return Verdict(tokens, accepted)


def _padded(drafted: Tensor) -> Tensor:
    return torch.cat([drafted, drafted.new_zeros(len(drafted), 1)], 1)


WRONG: list[Callable[[Round], Verdict]] = [
    _shared_residual_noise,
    _recovered_from_p,
    _reused_accept_draw,
    _stale_q,
]


@pytest.mark.parametrize("verdict", WRONG, ids=lambda f: f.__name__.strip("_"))
def test_a_biased_rejection_rule_fails(verdict: Callable[[Round], Verdict]) -> None:
    assert _narrow(Rule(Stream.DRAFT, verdict), trials=30_000) < UNLIKE


def test_a_biased_coupled_rule_fails() -> None:
    assert _narrow(Rule(Stream.TARGET, _uncoupled_typical), trials=30_000) < UNLIKE


# Every parameter on, so that later positions depend on the tokens accepted before them.

EVERYTHING: dict[str, SamplingParams] = {
    "penalties": resolved(temperature=0.9, repetition_penalty=1.4, presence_penalty=0.5, frequency_penalty=0.8),
    "encouraged": resolved(temperature=1.2, repetition_penalty=0.7, presence_penalty=-0.4, frequency_penalty=-0.6),
    "bias": resolved(logit_bias={0: 1.5, 3: -100.0, 5: 0.7}),
    "min_tokens": resolved(min_tokens=2, frequency_penalty=0.5),
    "top_k": resolved(temperature=1.3, top_k=4, presence_penalty=1.0),
    "top_p": resolved(temperature=1.1, top_p=0.7, frequency_penalty=1.0),
    "min_p": resolved(temperature=1.1, min_p=0.2, repetition_penalty=1.5),
    "all": resolved(
        temperature=1.4, top_k=6, top_p=0.9, min_p=0.05, repetition_penalty=1.2, presence_penalty=0.3,
        frequency_penalty=0.4, logit_bias={1: 2.0, 6: -1.0}, min_tokens=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("rule", RULES)
def test_every_parameter(rule: str, name: str) -> None:
    vocab, length, prompt, stops = 8, 3, (2, 5, 2), frozenset({1, 4})
    target, other = _toy(5, 1, vocab, vocab), _toy(6, 1, vocab, vocab)
    draft = Toy(0.5 * target.tables + 0.7 * other.tables)
    params = EVERYTHING[name]
    simulation = Simulation(target, draft, params, 2, length, RULES[rule], prompt, stops)
    tokens = simulation.run(range(10_000))
    exact = joint(lambda output: target.raw(output, prompt[-1]), params, prompt, stops, vocab, length)
    assert p_value(_counts(tokens, vocab), exact) > ALIKE
    assert simulation.accepted > 0.1 * simulation.drafted


# Seeds.


@pytest.mark.parametrize("params", [resolved(temperature=0.8), EVERYTHING["all"], resolved(temperature=0)])
def test_coupled_tokens_depend_on_the_seed_alone(params: SamplingParams) -> None:
    """Not on the drafter, the number of drafts, their lengths, or who else is in the batch."""
    vocab, seeds, prompt, stops = 64, [7, 7, 2**62, 3, 0], (2, 5), frozenset({1, 4})
    target = _toy(7, 3, vocab, vocab)

    def run(draft: Toy, k: int, seeds: list[int], certain: bool = False, ragged: bool = False) -> Tensor:
        return Simulation(target, draft, params, k, 12, COUPLED, prompt, stops, certain, ragged).run(seeds)

    plain = run(target, 0, seeds)
    assert torch.equal(plain[0], plain[1])
    assert params.temperature == 0 or not torch.equal(plain[0], plain[2])
    for draft in (target, _toy(8, 1, vocab, vocab), Toy(-target.tables)):
        assert torch.equal(run(draft, 1, seeds), plain)
        assert torch.equal(run(draft, 3, seeds, ragged=True), plain)
        assert torch.equal(run(draft, 4, seeds, certain=True), plain)
    for i, seed in enumerate(seeds):
        assert torch.equal(run(_toy(9, 1, vocab, vocab), 2, [seed])[0], plain[i])


def test_a_draft_model_equal_to_the_target_is_always_accepted() -> None:
    target = _toy(10, 2, 32, 32)
    for rule in RULES.values():
        simulation = Simulation(target, target, EVERYTHING["penalties"], 3, 8, rule)
        simulation.run(range(200))
        assert simulation.accepted == simulation.drafted > 0


def test_greedy_rejection_is_greedy() -> None:
    """Also when all rows are greedy and there is no noise."""
    target, params = _toy(11, 2, 32, 32), resolved(temperature=0)
    plain = Simulation(target, target, params, 0, 10, COUPLED).run([1])
    for draft in (target, _toy(12, 2, 32, 32)):
        assert torch.equal(Simulation(target, draft, params, 3, 10, REJECTION).run([1]), plain)
