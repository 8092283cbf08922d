"""EAGLE-3 heads learn from their own drafts.

After Li et al. 2025, "EAGLE-3: Scaling up Inference Acceleration of Large Language Models via Training-Time Test": each
further step takes what the head put out in place of the target's features, as it will when it drafts. A row stands for
one position from which drafting begins; it sees the features' entries up to there, and its own steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Generator, Tensor

from specdec.drafters.heads.eagle3 import EagleHead
from specdec.models.rope import Rope
from specdec.training.attention import KeysValues, LearningRows
from specdec.training.learning import Speaker, TextBatch, runs
from specdec.training.weights import FrozenEnds, LearningTensors

STEPS = 5
"""Steps that are learnt; further ones go like the last."""
_DECAY = 0.8
"""Of a step's weight beside the one before it."""


class EagleLearner:
    """See `learning.Learner`."""

    def __init__(self, head: EagleHead, tensors: LearningTensors, ends: FrozenEnds, length: int, longest: int) -> None:
        self.head, self.tensors, self.longest = head, tensors, longest
        self.features = head.config.features
        self.speaker = Speaker(head.vocabulary.own_logits, ends.unembed, head.vocabulary.ids)
        self._rope = Rope(*head.config.family.rope, length + longest + 1, ends.head.device)

    def loss(self, batch: TextBatch, chance: Generator, rows: int) -> Tensor:
        """See `learning.Learner.loss`."""
        texts, last = batch.tokens.shape[0], batch.tokens.shape[1] - 1
        steps = min(STEPS, self.longest)
        at, drawn = batch.drawn(chance, max(1, rows // (texts * steps)))
        each = torch.arange(texts, device=at.device).unsqueeze(-1)
        total, share = batch.features.new_zeros((), dtype=torch.float32), 0.0
        for step, said in enumerate(self._steps(batch, at - 1, steps)):
            ahead = (at + step + 1).clamp(max=last)
            there = drawn & (at + step + 1 < batch.lengths)
            final = None if batch.final is None else batch.final[each, ahead - 1].flatten(0, 1)
            labels, weights = batch.tokens[each, ahead].flatten(), there.flatten().float()
            loss = self.speaker.loss(said.flatten(0, 1), final, labels, weights)
            total, share = total + _DECAY**step * loss, share + _DECAY**step
        return total / share

    def accepted(self, batch: TextBatch) -> Tensor:
        """See `learning.Learner.accepted`."""
        matches = []
        wide = batch.tokens.shape[1]
        bases = torch.arange(wide - 1, device=batch.tokens.device)
        for step, said in enumerate(self._steps(batch, bases.unsqueeze(0), self.longest)):
            inside = bases + step + 2 < batch.lengths  # the text has a token so many steps behind the base
            best = self.speaker.best(said.flatten(0, 1)).view(said.shape[:2])  # behind positions 1 .. T - 1
            matches.append((best == _shifted(batch.tokens, step + 2, wide - 1)) & inside)
        found = torch.zeros_like(batch.tokens)
        found[:, 1:] = runs(torch.stack(matches, -1))
        return found

    def _steps(self, batch: TextBatch, bases: Tensor, count: int) -> Iterator[Tensor]:
        """What the vocabulary's product takes after each step, [B, N, H]; a row goes on from the position `bases`
        [1 or B, N], and knows the token behind it. All positions make the first step, for others to see."""
        head, family, device = self.head, self.head.config.family, batch.tokens.device
        texts, wide, rows = batch.tokens.shape[0], batch.tokens.shape[1] - 1, bases.shape[1]
        every = torch.arange(wide, device=device)
        eye = torch.eye(rows, dtype=torch.bool, device=device).expand(bases.shape[0], -1, -1)
        before: dict[int, list[KeysValues]] = {}

        def sees(step: int, at: Tensor, window: int | None) -> Tensor:
            seen = every <= at.unsqueeze(-1)
            if window is not None:
                seen = seen & (every > at.unsqueeze(-1) + step - window)
            return torch.cat([seen, *[eye] * step], -1)

        first = partial(sees, 0, every.unsqueeze(0))
        whole = LearningRows(family, self._rope, every.expand(texts, -1), first, before, keeps=True)
        found = head.step(head.fused(batch.features[:, :-1].flatten(0, 1)), batch.tokens[:, 1:].flatten(), whole)
        own = bases.expand(texts, -1)
        places = own.unsqueeze(-1).expand(-1, -1, family.hidden)
        hidden, said = (x.view(texts, wide, -1).gather(1, places) for x in found)
        yield said
        for step in range(1, count):
            tokens = batch.tokens.gather(1, (own + step + 1).clamp(max=wide))
            further = LearningRows(family, self._rope, own + step, partial(sees, step, bases), before, keeps=True)
            found = head.step(hidden.flatten(0, 1), tokens.flatten(), further)
            hidden, said = (x.view(texts, rows, -1) for x in found)
            yield said


def _shifted(tokens: Tensor, by: int, count: int) -> Tensor:
    """The tokens so many positions on, [B, count]; zeros behind the end."""
    return torch.nn.functional.pad(tokens[:, by:], (0, by))[:, :count]
