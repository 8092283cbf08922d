"""Tokens from logits, with every row's parameters on the device: `SamplingBatch`'s function for rounds in graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from specdec.decoding.rounds.table import SlotTable
from specdec.kernels.choose import argmax, gumbel
from specdec.kernels.draw import draw
from specdec.sampling.noise import Stream
from specdec.sampling.state import SamplerState


@dataclass(frozen=True, slots=True)
class Shaping:
    """Which processors the rows of a round need; part of a graph's key. Those that a row does not need leave it as it
    is."""

    drawn: bool = False
    limited: bool = False
    """By top_k, top_p or min_p."""

    @classmethod
    def of(cls, states: Sequence[SamplerState]) -> Shaping:
        drawn = [s.shape for s in states if not s.greedy]
        return cls(bool(drawn), any(s.top_k or s.top_p != 1 or s.min_p for s in drawn))

    @classmethod
    def usual(cls, defaults: Mapping[str, float]) -> Shaping:
        """Of answers that are drawn as a checkpoint says."""
        return cls(True, bool(defaults.get("top_k") or defaults.get("min_p") or defaults.get("top_p", 1) != 1))

    def covers(self, other: Shaping) -> bool:
        """Whether rows that need `other` can be shaped so."""
        return self.drawn >= other.drawn and self.limited >= other.limited


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
        if self._shaping.limited:
            return draw(logits, noise, self._temperature, self._top_k, self._top_p, self._min_p, mark=mark)
        found = argmax(logits.flatten(0, 1), noise.flatten(0, 1), self._temperature, mark=mark)
        return found.view(logits.shape[:2])
