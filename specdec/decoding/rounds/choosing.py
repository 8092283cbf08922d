"""Tokens from logits, with every row's parameters on the device: `SamplingBatch`'s function for rounds in graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.decoding.rounds.table import SlotTable
from specdec.kernels.choose import argmax, draw, gumbel
from specdec.sampling import processors
from specdec.sampling.noise import Stream
from specdec.sampling.state import SamplerState


@dataclass(frozen=True, slots=True)
class Shaping:
    """Which processors the rows of a round need; part of a graph's key. Those that a row does not need leave it as it
    is."""

    drawn: bool = False
    top_k: int = 0
    """No row keeps more than this; 0: no row has a limit."""
    top_p: bool = False
    min_p: bool = False

    @classmethod
    def of(cls, states: Sequence[SamplerState]) -> Shaping:
        drawn = [s.shape for s in states if not s.greedy]
        top_k = max((int(s.top_k) for s in drawn), default=0)
        width = 1 << (top_k - 1).bit_length() if top_k else 0
        return cls(bool(drawn), width, any(s.top_p != 1 for s in drawn), any(s.min_p > 0 for s in drawn))

    @classmethod
    def usual(cls, defaults: Mapping[str, float]) -> Shaping:
        """Of answers that are drawn as a checkpoint says."""
        top_k = int(defaults.get("top_k", 0))
        width = 1 << (top_k - 1).bit_length() if top_k else 0
        return cls(True, width, defaults.get("top_p", 1) != 1, defaults.get("min_p", 0) > 0)

    def covers(self, other: Shaping) -> bool:
        """Whether rows that need `other` can be shaped so."""
        return (
            self.drawn >= other.drawn
            and self.top_k >= other.top_k
            and self.top_p >= other.top_p
            and self.min_p >= other.min_p
        )


class Chooser:
    """The target's and the drafter's choices of one round, both with the same noise (see `accept.coupled`).

    slots [B] int64 of `table`, starts [B] int32 of the last token that each holds; `count` choices a row.
    """

    def __init__(
        self, table: SlotTable, slots: Tensor, starts: Tensor, count: int, shaping: Shaping, vocab: int
    ) -> None:
        self._shaping = shaping
        self._noise: Tensor | None = None
        if shaping.drawn:
            noise = gumbel(table.seeds[slots], starts + 1, count, Stream.TARGET, vocab)
            greedy = table.shapes[3, slots].view(-1, 1, 1) > 0
            self._noise = noise.masked_fill_(greedy, 0.0)
            self._temperature, self._top_p, self._min_p = (values[slots].view(-1, 1, 1) for values in table.shapes[:3])
            self._top_k = table.top_k[slots].view(-1, 1, 1)

    def __call__(self, logits: Tensor, first: int, *, mark: bool = False) -> Tensor:
        """Tokens [B, M] from raw logits [B, M, V], of the first-th choice on. `mark`: see `argmax`."""
        if self._noise is None:
            return argmax(logits.flatten(0, 1), mark=mark).view(logits.shape[:2])
        noise = self._noise[:, first : first + logits.shape[1]]
        scores = self._limited(processors.temperature(logits, self._temperature))
        if self._shaping.top_p or self._shaping.min_p:
            return draw(scores, noise, self._top_p, self._min_p, mark=mark)
        return argmax(scores.flatten(0, 1), noise.flatten(0, 1), mark=mark).view(logits.shape[:2])

    def _limited(self, scores: Tensor) -> Tensor:
        """To top_k."""
        if not self._shaping.top_k:
            return scores
        largest = min(self._shaping.top_k, scores.shape[-1])
        limited = processors.top_k(scores, self._top_k.clamp(max=largest), largest)
        return torch.where(self._top_k > largest, scores, limited)
