"""The contract of a head: what it takes from a window of the target's features, and what it proposes behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from specdec.drafters.heads.cache import CachedRows, HeadCache
from specdec.drafters.heads.config import HeadConfig

Choose = Callable[[Tensor, int], Tensor]
"""Tokens [B, M] from raw logits [B, M, V], of the n-th draft on."""


@dataclass(frozen=True, slots=True)
class FeatureWindow:
    """Consecutive positions of some sequences that the target has seen: B sequences, W positions each."""

    cache: HeadCache
    features: Tensor
    """[B, W, n * target's H]"""
    tokens: Tensor
    """[B, W] int64: the tokens behind those positions; the last one is the sequence's last."""
    slots: Tensor
    """[B] int64"""
    positions: Tensor
    """[B, W] int64"""
    first: Tensor
    """[B]: below it the slot holds nothing."""
    written: Tensor
    """[B, W] int64: the slot of each position, or the spare one where its keys and values are there already."""
    end: int | None = None
    """No sequence reaches further on the host's count, drafts among them; None: not known on the host."""

    @property
    def rows(self) -> CachedRows:
        return CachedRows(self.cache, self.slots, self.positions, self.first, self.written, self.end)


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
