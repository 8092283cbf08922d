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
        steps, wide = min(STEPS, self.longest), batch.tokens.shape[1]
        chosen = batch.chosen(chance, max(1, rows // steps))
        texts, at = chosen // wide, chosen % wide
        total, share = batch.features.new_zeros((), dtype=torch.float32), 0.0
        for step, said in enumerate(self._steps(batch, steps)):
            ahead = (at + step + 1).clamp(max=wide - 1)
            there = at + step + 1 < batch.lengths[texts, 0]
            final = None if batch.final is None else batch.final[texts, ahead - 1]
            loss = self.speaker.loss(said[texts, at - 1], final, batch.tokens[texts, ahead], there.float())
            total, share = total + _DECAY**step * loss, share + _DECAY**step
        return total / share

    def accepted(self, batch: TextBatch) -> Tensor:
        """See `learning.Learner.accepted`."""
        matches = []
        wide = batch.tokens.shape[1]
        bases = torch.arange(wide - 1, device=batch.tokens.device)
        for step, said in enumerate(self._steps(batch, self.longest)):
            inside = bases + step + 2 < batch.lengths  # the text has a token so many steps behind the base
            best = self.speaker.best(said.flatten(0, 1)).view(said.shape[:2])  # behind positions 1 .. T - 1
            matches.append((best == _shifted(batch.tokens, step + 2, wide - 1)) & inside)
        found = torch.zeros_like(batch.tokens)
        found[:, 1:] = runs(torch.stack(matches, -1))
        return found

    def _steps(self, batch: TextBatch, count: int) -> Iterator[Tensor]:
        """What the vocabulary's product takes after each step, [B, T - 1, H]; row p goes on from position p, and knows
        the token behind it."""
        head, family, device = self.head, self.head.config.family, batch.tokens.device
        texts, bases = batch.tokens.shape[0], batch.tokens.shape[1] - 1
        base = torch.arange(bases, device=device)
        eye = torch.eye(bases, dtype=torch.bool, device=device)
        hidden = head.fused(batch.features[:, :-1].flatten(0, 1))
        before: dict[int, list[KeysValues]] = {}

        def sees(step: int, window: int | None) -> Tensor:
            seen = base <= base.unsqueeze(-1)
            if window is not None:
                seen = seen & (base > base.unsqueeze(-1) + step - window)
            return torch.cat([seen, *[eye] * step], -1).unsqueeze(0)

        for step in range(count):
            positions = (base + step).expand(texts, -1)
            rows = LearningRows(family, self._rope, positions, partial(sees, step), before, keeps=True)
            hidden, said = head.step(hidden, _shifted(batch.tokens, step + 1, bases).flatten(), rows)
            yield said.view(texts, bases, -1)


def _shifted(tokens: Tensor, by: int, count: int) -> Tensor:
    """The tokens so many positions on, [B, count]; zeros behind the end."""
    return torch.nn.functional.pad(tokens[:, by:], (0, by))[:, :count]
