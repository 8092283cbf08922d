"""A small model of the target's own family learns to say what the target says. Only its layers learn: its embedding and
head are the target's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from specdec.drafters.heads.layers import HeadBody, read_layer
from specdec.models.families.base import ModelFamily
from specdec.models.rope import Rope
from specdec.training.attention import LearningRows
from specdec.training.learning import Speaker, TextBatch
from specdec.training.weights import FrozenEnds, LearningTensors

_DECODER = "model"


class ModelLearner:
    """See `learning.Learner`. `ends` are None of a target that does not show its head; then the model learns from the
    tokens alone."""

    features: tuple[int, ...] = ()

    def __init__(
        self, family: ModelFamily, tensors: LearningTensors, ends: FrozenEnds | None, length: int, longest: int
    ) -> None:
        self.tensors, self.longest, self._family = tensors, longest, family
        names, hidden = family.names, family.hidden
        layers = [f"{_DECODER}.{names.layer.format(index=i)}" for i in range(family.layers)]
        self._body = HeadBody(family, [read_layer(tensors, at, family, hidden) for at in layers])
        self._norm = tensors.tensor(f"{_DECODER}.{names.norm}.weight", hidden)
        dtype = torch.float32 if ends is None else ends.head.dtype
        self._embedding = tensors.raw(f"{_DECODER}.{names.embedding}.weight").to(self._norm.device, dtype)
        own = None if family.tied else tensors.raw(f"{names.head}.weight").to(self._norm.device, dtype)
        self._head = self._embedding if own is None else own
        self._rope = Rope(*family.rope, length + 1, self._norm.device)
        self._speaker = Speaker(self._logits, _no_teacher if ends is None else ends.unembed)

    def loss(self, batch: TextBatch, chance: Generator, rows: int) -> Tensor:
        """See `learning.Learner.loss`."""
        at, drawn = batch.drawn(chance, max(1, rows // batch.tokens.shape[0]))
        each = torch.arange(batch.tokens.shape[0], device=at.device).unsqueeze(-1)
        final = None if batch.final is None else batch.final[each, at].flatten(0, 1)
        said, labels = self._said(batch.tokens)[each, at], batch.tokens[each, at + 1]
        return self._speaker.loss(said.flatten(0, 1), final, labels.flatten(), drawn.flatten().float())

    def accepted(self, batch: TextBatch) -> Tensor:
        """See `learning.Learner.accepted`."""
        said = self._said(batch.tokens)
        best = self._speaker.best(said.flatten(0, 1)).view(batch.tokens.shape)
        inside = torch.arange(1, best.shape[1], device=best.device) < batch.lengths
        matches = F.pad((best[:, :-1] == batch.tokens[:, 1:]) & inside, (0, self.longest))
        return matches.unfold(1, self.longest, 1).int().cumprod(-1).sum(-1)

    def _said(self, tokens: Tensor) -> Tensor:
        """What the head takes behind every token [B, T], [B, T, H]."""
        texts, wide = tokens.shape
        every = torch.arange(wide, device=tokens.device)

        def sees(window: int | None) -> Tensor:
            seen = every <= every.unsqueeze(-1)
            if window is not None:
                seen = seen & (every > every.unsqueeze(-1) - window)
            return seen.unsqueeze(0)

        rows = LearningRows(self._family, self._rope, every.expand(texts, -1), sees)
        x = F.embedding(tokens.flatten(), self._embedding).float()
        for index in range(self._family.layers):
            x = self._body.layer(index, x, rows)
        return self._body.norm(x, self._norm).view(texts, wide, -1)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self._head.dtype), self._head).float()


def _no_teacher(_final: Tensor) -> Tensor:
    raise AssertionError("this target does not show its head")
