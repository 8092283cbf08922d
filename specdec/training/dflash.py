"""DFlash heads learn to fill in blocks behind random positions of the target's answers.

After "DFlash: Block Diffusion for Flash Speculative Decoding" (arXiv 2602.06036): a block sees the target's features of
all that lies before it, and its first tokens weigh most, since what follows a wrong one is lost.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from specdec.drafters.heads.dflash import BlockHead
from specdec.models.rope import Rope
from specdec.training.attention import LearningRows
from specdec.training.learning import Speaker, TextBatch, runs
from specdec.training.weights import FrozenEnds, LearningTensors


class BlockLearner:
    """See `learning.Learner`."""

    def __init__(self, head: BlockHead, tensors: LearningTensors, ends: FrozenEnds, length: int) -> None:
        config = head.config
        self.head, self.tensors, self.block = head, tensors, head.block
        self.features, self.longest = config.features, config.longest
        self.speaker = Speaker(head.vocabulary.own_logits, ends.unembed, head.vocabulary.ids)
        device = ends.head.device
        self._rope = Rope(*config.family.rope, length + self.block.size + 1, device)
        ahead = torch.arange(1, self.longest + 1, device=device)
        self._ahead, self._weights = ahead, torch.exp((1 - ahead) / (self.block.size / 2))

    def loss(self, batch: TextBatch, chance: Generator, rows: int) -> Tensor:
        """See `learning.Learner.loss`."""
        texts, last = batch.tokens.shape[0], batch.tokens.shape[1] - 1
        anchors, drawn = batch.drawn(chance, max(1, rows // (texts * self.longest)))
        said, labels, inside = self._said(batch, anchors), *self._labels(batch, anchors)
        final = None
        if batch.final is not None:
            each = torch.arange(texts, device=anchors.device).view(-1, 1, 1)
            before = (anchors.unsqueeze(-1) + self._ahead - 1).clamp(max=last)
            final = batch.final[each, before].flatten(0, 2)
        weights = (inside * drawn.unsqueeze(-1) * self._weights).flatten()
        return self.speaker.loss(said.flatten(0, 2), final, labels.flatten(), weights)

    def accepted(self, batch: TextBatch) -> Tensor:
        """See `learning.Learner.accepted`."""
        found = torch.zeros_like(batch.tokens)
        texts, wide = batch.tokens.shape
        together = max(1, math.isqrt(2**26 // texts) // self.block.size)  # all of a text's blocks would see too much
        for low in range(0, wide, together):
            high = min(low + together, wide)
            anchors = torch.arange(low, high, device=found.device).expand(texts, -1)
            said, labels, inside = self._said(batch, anchors), *self._labels(batch, anchors)
            best = self.speaker.best(said.flatten(0, 2)).view(labels.shape)
            found[:, low:high] = runs((best == labels) & inside)
        return found

    def _labels(self, batch: TextBatch, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens behind anchors [B, N], and whether they are there, [B, N, k] each."""
        at = anchors.unsqueeze(-1) + self._ahead
        inside, last = at < batch.lengths.unsqueeze(-1), batch.tokens.shape[1] - 1
        tokens = batch.tokens.gather(1, at.clamp(max=last).flatten(1)).view(at.shape)
        return tokens, inside

    def _said(self, batch: TextBatch, anchors: Tensor) -> Tensor:
        """What the vocabulary's product takes of the blocks behind anchors [B, N]: [B, N, k, H]."""
        (texts, wide), size = batch.tokens.shape, self.block.size
        head, family, device = self.head, self.head.config.family, anchors.device
        fused = head.fused(batch.features.flatten(0, 1))
        every = torch.arange(wide, device=device)
        context = LearningRows(family, self._rope, every.expand(texts, -1), _nothing)
        for index in range(family.layers):
            head.body.keep(index, fused, context)
        positions = (anchors.unsqueeze(-1) + torch.arange(size, device=device)).flatten(1)
        block = torch.arange(positions.shape[1], device=device) // size
        start = anchors.repeat_interleave(size, 1).unsqueeze(-1)  # [B, N * size, 1]

        def sees(window: int | None) -> Tensor:
            held = every < start
            own = (block.unsqueeze(-1) == block).expand(texts, -1, -1)
            if window is not None:
                held = held & (every >= start - window)
                if self.block.causal_windows:
                    own = own & (positions.unsqueeze(1) <= positions.unsqueeze(-1))
            return torch.cat((held, own), -1)

        rows = LearningRows(family, self._rope, positions, sees, context.before)
        hidden = head.filled(batch.tokens.gather(1, anchors).flatten(), rows)
        first = 0 if self.block.anchor else 1
        return hidden[:, first : first + self.longest].reshape(texts, anchors.shape[1], self.longest, -1)


def _nothing(window: int | None) -> Tensor:
    raise AssertionError(f"features attend to nothing (window {window})")
