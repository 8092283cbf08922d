"""What every kind of learning drafter has in common: the texts it learns from, and how far it is from the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint

from specdec.training.weights import LearningTensors

LOGITS_AT_ONCE = 2**27
"""Where there are more they are computed again for the gradients: they would fill the memory."""
_SAID = 0.5
"""How much of the loss is about the token that the target said, beside its whole distribution."""


@dataclass(frozen=True, slots=True)
class TextBatch:
    """B texts of up to T tokens, and what the target made of them."""

    tokens: Tensor
    """[B, T] int64, filled up with zeros"""
    features: Tensor
    """[B, T, n * H], of any values where a text has ended"""
    final: Tensor | None
    """[B, T, H], what the target's head reads; None of a target that does not show it."""
    starts: Tensor
    """[B, 1] int64: where the answers begin."""
    lengths: Tensor
    """[B, 1] int64"""
    answered: int
    """Tokens of the answers."""

    def drawn(self, chance: Generator, count: int) -> tuple[Tensor, Tensor]:
        """Up to so many positions of each answer behind which rounds may draft, each once, and which of them there
        are, [B, N] each."""
        wide = self.tokens.shape[1]
        every = torch.arange(wide, device=self.tokens.device)
        inside = (every >= self.starts) & (every < self.lengths - 1)
        ranks = (1 - self._moved(torch.rand(self.tokens.shape, generator=chance, device="cpu"))) * inside
        found = ranks.topk(min(count, wide), 1)
        return found.indices.clamp(1, wide - 2), found.values > 0

    def _moved(self, values: Tensor) -> Tensor:
        """Numbers of the host, without waiting for the device."""
        device = self.tokens.device
        return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


class Learner(Protocol):
    """One drafter that learns."""

    tensors: LearningTensors
    features: tuple[int, ...]
    """See `drafters.base.Drafter.features`."""
    longest: int
    """Tokens that it proposes at once, at most."""

    def loss(self, batch: TextBatch, chance: Generator, rows: int) -> Tensor:
        """Over about so many predictions of the batch, chosen by a generator on the CPU."""
        ...

    def accepted(self, batch: TextBatch) -> Tensor:
        """How many of `longest` greedy drafts behind each position are what the text goes on with, [B, T]; any value
        where the text has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Speaker:
    """From what a drafter's last layer gives to logits, over the tokens that it knows, and the target's beside them."""

    logits: Callable[[Tensor], Tensor]
    """[R, H] -> [R, known tokens] fp32"""
    teacher: Callable[[Tensor], Tensor]
    """What the target's head makes of `TextBatch.final`, [R, V] fp32."""
    ids: Tensor | None = None
    """[known tokens] int64, their ids; None: all, from the first on."""

    def loss(self, said: Tensor, final: Tensor | None, labels: Tensor, weights: Tensor) -> Tensor:
        """Mean cross entropy of predictions [R, H] with the tokens that followed, and with the target's distribution.
        Of rows with weights [R]; those whose token the drafter does not know count nothing."""
        labels, known = self._own(labels)
        weights = weights * known
        rows = max(1, LOGITS_AT_ONCE // self._width(said))
        if said.shape[0] <= rows:
            return self._summed(said, final, labels, weights) / weights.sum().clamp(min=1e-6)
        total = said.new_zeros((), dtype=torch.float32)
        for at in range(0, said.shape[0], rows):
            part = slice(at, at + rows)
            given = (said[part], None if final is None else final[part], labels[part], weights[part])
            total = total + checkpoint(self._summed, *given, use_reentrant=False)
        return total / weights.sum().clamp(min=1e-6)

    def best(self, said: Tensor) -> Tensor:
        """The likeliest token of each row, [R] int64 of the target's ids."""
        rows = max(1, LOGITS_AT_ONCE // self._width(said))
        found = torch.cat([self.logits(part).argmax(-1) for part in torch.split(said, rows)])
        return found if self.ids is None else self.ids[found]

    def _width(self, said: Tensor) -> int:
        return self.logits(said[:1].detach()).shape[-1]

    def _own(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Labels by the drafter's own numbers, and which of them it knows."""
        if self.ids is None:
            return labels, torch.ones_like(labels, dtype=torch.bool)
        order = self.ids.argsort()
        at = order[torch.searchsorted(self.ids, labels, sorter=order).clamp(max=len(order) - 1)]
        return at, self.ids[at] == labels

    def _summed(self, said: Tensor, final: Tensor | None, labels: Tensor, weights: Tensor) -> Tensor:
        chances = F.log_softmax(self.logits(said), -1)
        loss = -chances.gather(1, labels.unsqueeze(1))[:, 0]
        if final is not None:
            with torch.no_grad():
                logits = self.teacher(final)
                wanted = logits[:, : chances.shape[1]] if self.ids is None else logits[:, self.ids]
                wanted = wanted.softmax(-1)
            loss = _SAID * loss - (1 - _SAID) * (wanted * chances).sum(-1)
        return (loss * weights).sum()


def runs(matches: Tensor) -> Tensor:
    """How many are true from the first on, of [..., k] bool."""
    return matches.int().cumprod(-1).sum(-1)
