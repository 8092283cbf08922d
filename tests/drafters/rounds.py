"""Rounds for drafters, without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from specdec.drafters.base import DraftContext, Drafter, DraftRound, Drafts, Seen
from specdec.sampling.batch import SamplingBatch


class GreedySampling:
    """A sampling batch that leaves logits as they are. Remembers what it was shown as drafted."""

    greedy = True
    trivial = False
    """So that it is asked."""

    def __init__(self, greedy_rows: Tensor | None = None) -> None:
        self.greedy_rows = greedy_rows
        self.seen: list[list[list[int]]] = []

    def process(self, logits: Tensor, drafted: Tensor, first: int) -> Tensor:
        assert logits.dtype == torch.float32
        assert drafted.shape[1] >= first
        self.seen.append(drafted[:, :first].tolist())
        return logits


def round_of(
    contexts: Sequence[DraftContext],
    sampling: GreedySampling | SamplingBatch | None = None,
    noise: Tensor | None = None,
    need_probs: bool = False,
) -> DraftRound:
    return DraftRound(contexts, cast("SamplingBatch", sampling or GreedySampling()), noise, need_probs)


def context(
    tokens: Sequence[int],
    *,
    sequence: int = 1,
    slot: int = 0,
    prompt: int | None = None,
    prediction: Sequence[int] = (),
) -> DraftContext:
    length = len(tokens) if prompt is None else prompt
    return DraftContext(sequence, slot, list(tokens), length, tuple(prediction))


def rows(drafts: Drafts) -> list[list[int]]:
    """The valid part of each row."""
    return [row[:n] for row, n in zip(drafts.tokens.tolist(), drafts.lengths, strict=True)]


def propose(drafter: Drafter, *contexts: DraftContext, k: int = 4) -> list[list[int]]:
    drafts = drafter.propose(round_of(contexts), k)
    assert drafts.tokens.shape[0] == len(contexts)
    assert max(drafts.lengths) <= drafts.tokens.shape[1] <= k
    assert drafts.tokens.dtype == torch.int64
    assert len(drafts.sources) == len(contexts)
    return rows(drafts)


def goes_on(drafter: Drafter, context: DraftContext, accepted: Sequence[int], own: int) -> None:
    """The target has accepted these drafts of the drafter, and added a token of its own."""
    start = len(context.tokens) - 1
    context.tokens += [*accepted, own]
    drafter.observe(Seen(context, start, len(accepted) + 1, drafter=drafter.name))
