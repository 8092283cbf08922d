"""The contract of a head: what it takes from a window of the target's features, and what it proposes behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from specdec.drafters.heads.cache import CachedRows, HeadCache
from specdec.drafters.heads.config import HeadConfig

Choose = Callable[[Tensor, int], Tensor]
"""Tokens [B, M] from raw logits [B, M, V], of the n-th draft on."""


@dataclass(frozen=True, slots=True)
class FeatureWindow:
    """Positions of some sequences that the target has seen and the head has not: B sequences, up to W positions each.
    What fills up the shorter ones means nothing, and is overwritten by what comes next."""

    cache: HeadCache
    features: Tensor
    """[B, W, n * target's H]"""
    tokens: Tensor
    """[B, W] int64: the tokens behind those positions."""
    slots: Tensor
    """[B] int64"""
    starts: Tensor
    """[B] int64: where in its slot each sequence's first position is kept."""
    last: Tensor
    """[B] int64: which of the W is the last."""
    end: int | None = None
    """Nothing is kept here or beyond, drafts neither; None: not known on the host."""

    @property
    def rows(self) -> CachedRows:
        """Of the window itself."""
        return CachedRows(self.cache, self.slots, self.starts, self.features.shape[1], self.end)

    @property
    def behind(self) -> Tensor:
        """[B]: where the first draft is kept."""
        return self.starts + self.last + 1

    def at_last(self, x: Tensor) -> Tensor:
        """Of rows [B, W, ...] each sequence's last."""
        return x[torch.arange(x.shape[0], device=x.device), self.last]


class Head(Protocol):
    """One head, over a cache. Works on tensors alone: on the host's call as in a graph."""

    config: HeadConfig

    def extend(self, window: FeatureWindow) -> None:
        """Keep keys and values of the window."""
        ...

    def propose(self, window: FeatureWindow, k: int, choose: Choose) -> Tensor | None:
        """Call `choose` for the k tokens behind the window, in order; keeps the window too. Returns how likely each
        draft is accepted, [B, k], where the head says."""
        ...
