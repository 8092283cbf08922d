"""The accept rules, case by case."""

from __future__ import annotations

import torch

from specdec.sampling import accept
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.noise import Stream
from specdec.sampling.state import SamplerState

from .harness import CPU, resolved

NEVER = float("-inf")


def _logits(*tokens: int, vocab: int = 5) -> torch.Tensor:
    """[1, M, V], row i all for tokens[i]."""
    logits = torch.full((1, len(tokens), vocab), NEVER)
    return logits.scatter_(2, torch.tensor(tokens).view(1, -1, 1), 0.0)


def test_coupled_stops_at_the_first_difference() -> None:
    logits = _logits(1, 2, 3, 4)
    for drafted, accepted in (((1, 2, 3), 3), ((1, 2, 0), 2), ((1, 0, 3), 1), ((0, 2, 3), 0)):
        verdict = accept.coupled(logits, torch.tensor([drafted]), torch.tensor([3]), None)
        assert verdict.accepted.tolist() == [accepted]
        assert verdict.tokens.tolist() == [[1, 2, 3, 4]]


def test_lengths_bound_what_is_accepted() -> None:
    logits = _logits(1, 2, 3, 4).expand(4, -1, -1)
    drafted, lengths = torch.tensor([[1, 2, 3]] * 4), torch.arange(4)
    uniform = torch.full((4, 3), 0.99)
    for verdict in (
        accept.coupled(logits, drafted, lengths, None),
        accept.rejection(logits, drafted, lengths, None, uniform, torch.zeros_like(logits)),
    ):
        assert verdict.accepted.tolist() == [0, 1, 2, 3]
        assert [row[: n + 1] for row, n in zip(verdict.tokens.tolist(), range(4), strict=True)] == [
            [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]
        ]  # fmt: skip


def test_a_round_without_drafts() -> None:
    logits = _logits(3)
    drafted, lengths = torch.empty(1, 0, dtype=torch.int64), torch.tensor([0])
    uniform, probs = torch.empty(1, 0), torch.empty(1, 0, 5)
    for verdict in (
        accept.coupled(logits, drafted, lengths, None),
        accept.rejection(logits, drafted, lengths, None, uniform, torch.zeros_like(logits)),
        accept.rejection(logits, drafted, lengths, probs, uniform, torch.zeros_like(logits)),
    ):
        assert verdict.tokens.tolist() == [[3]]
        assert verdict.accepted.tolist() == [0]


def test_rejection_follows_p_over_q() -> None:
    p, q = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.8, 0.1, 0.1])
    logits = torch.stack([p.log(), p.log()]).expand(2, 2, 3)
    uniform = torch.tensor([[0.24], [0.26]])  # p / q = 0.25
    verdict = accept.rejection(
        logits,
        torch.tensor([[0], [0]]),
        torch.tensor([1, 1]),
        q.expand(2, 1, 3),
        uniform,
        torch.zeros(2, 2, 3),
    )
    assert verdict.accepted.tolist() == [1, 0]
    assert verdict.tokens[0, 0] == 0
    assert verdict.tokens[1, 0] == 1


def test_the_recovered_token_is_never_the_refused_certain_one() -> None:
    logits = torch.tensor([2.0, 1.9, 0.0]).log_softmax(-1).expand(1, 2, 3)
    verdict = accept.rejection(
        logits, torch.tensor([[0]]), torch.tensor([1]), None, torch.tensor([[0.999]]), torch.zeros(1, 2, 3)
    )
    assert verdict.tokens[0, 0] == 1


def test_an_empty_residual_falls_back_to_p() -> None:
    p = torch.tensor([0.5, 0.25, 0.25])
    q = torch.nextafter(p, torch.ones(3))  # nowhere below p, yet it refuses now and then
    verdict = accept.rejection(
        p.log().expand(1, 2, 3), torch.tensor([[0]]), torch.tensor([1]), q.expand(1, 1, 3),
        torch.tensor([[1 - 2.0**-24]]), torch.tensor([0.0, 5.0, 0.0]).expand(1, 2, 3),
    )  # fmt: skip
    assert verdict.accepted.tolist() == [0]
    assert verdict.tokens[0, 0] == 1


def test_masked_tokens_are_never_accepted_nor_drawn() -> None:
    logits = torch.tensor([NEVER, 0.0, NEVER]).expand(1, 2, 3)
    noise = torch.tensor([20.0, -3.0, 20.0]).expand(1, 2, 3)
    probs = torch.tensor([1.0, 0.0, 0.0]).expand(1, 1, 3)
    drafted, one = torch.tensor([[0]]), torch.tensor([1])
    for verdict in (
        accept.coupled(logits, drafted, one, noise),
        accept.rejection(logits, drafted, one, probs, torch.zeros(1, 1), noise),
    ):
        assert verdict.accepted.tolist() == [0]
        assert verdict.tokens[0, 0] == 1


def test_greedy_and_sampled_rows_in_one_batch() -> None:
    """Rows come out as they do alone, by both rules, and greedy rows take the most likely token."""
    vocab, k = 40, 3
    logits = torch.randn(6, k + 1, vocab, generator=torch.Generator().manual_seed(0))
    drafted = logits[:, :-1].argmax(-1)
    drafted[3:, 1] = 7
    probs = (logits[:, :-1] * 0.7).softmax(-1)
    states = [
        SamplerState(resolved(temperature=t), seed, (1,), frozenset(), vocab, CPU)
        for seed, t in enumerate((0, 1.0, 0.7, 0, 1.0, 0.7))
    ]

    def verdicts(rows: list[int]) -> list[accept.Verdict]:
        batch = SamplingBatch([states[i] for i in rows])
        at, lengths = [5 + i for i in rows], torch.full((len(rows),), k)
        processed = batch.process(logits[rows], drafted[rows], 0)
        drawn = batch.gumbel(at, k + 1, Stream.RESIDUAL)
        uniform, greedy = batch.uniform(at, k), batch.greedy_rows
        return [
            accept.coupled(processed, drafted[rows], lengths, batch.gumbel(at, k + 1, Stream.TARGET)),
            accept.rejection(processed, drafted[rows], lengths, probs[rows], uniform, drawn, greedy),
            accept.rejection(processed, drafted[rows], lengths, None, uniform, drawn, greedy),
        ]

    for rule, together in enumerate(verdicts([0, 1, 2, 3, 4, 5])):
        for i in range(6):
            alone = verdicts([i])[rule]
            assert alone.accepted[0] == together.accepted[i]
            assert torch.equal(alone.tokens[0], together.tokens[i])
        assert together.accepted[0] == 3
        assert together.tokens[0].tolist() == logits[0].argmax(-1).tolist()
        assert together.accepted[3] == 1
        assert together.tokens[3, 1] == logits[3, 1].argmax()


def test_noise_for_more_positions_than_were_drafted() -> None:
    """Drafters may come back with fewer drafts than noise was drawn for."""
    logits, noise = torch.zeros(1, 2, 5), torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0))
    drafted, one = noise[:, :1].argmax(-1), torch.tensor([1])
    expected = noise[:, :2].argmax(-1)
    for verdict in (
        accept.coupled(logits, drafted, one, noise),
        accept.rejection(logits, drafted, one, None, torch.zeros(1, 1), noise),
    ):
        assert verdict.accepted.tolist() == [1]
        assert torch.equal(verdict.tokens, expected)


def test_all_tokens_masked_stays_finite_enough() -> None:
    """A draft model may know none of the tokens that are left: its q is not a number, and p alone decides."""
    logits = torch.tensor([0.0, 1.0, NEVER]).expand(1, 2, 3)
    state = SamplerState(resolved(temperature=0.5), 1, (0,), frozenset(), 3, CPU)
    masked = SamplingBatch([state]).process(torch.full((1, 1, 3), NEVER), torch.empty(1, 0, dtype=torch.int64), 0)
    assert masked.tolist() == [[[NEVER] * 3]]
    verdict = accept.rejection(
        logits,
        torch.tensor([[2]]),
        torch.tensor([1]),
        masked.softmax(-1),
        torch.tensor([[0.5]]),
        torch.zeros(1, 2, 3),
    )
    assert verdict.accepted.tolist() == [0]
    assert verdict.tokens[0, 0] == 1
