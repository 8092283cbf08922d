"""Whether a training fits, planned before it begins, and what is made smaller so that it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch

from specdec.errors import NotEnoughMemory
from specdec.models import memory
from specdec.models.base import ModelOptions
from specdec.training.initial import TargetFacts
from specdec.training.learning import LOGITS_AT_ONCE
from specdec.training.optimiser import AT_ONCE

_GIB = 2**30
_SPARE = {"cuda": int(1.5 * _GIB), "cpu": _GIB // 2}
"""For the device's own needs, kernels and graphs; of a CPU, for the libraries."""
_LEARNING = 12
"""Bytes of a parameter that learns: itself, its gradient and the mean of gradients, in 32 bits."""
_MOVED = 24
"""Of what the optimiser moves at once, and of what it computes on the way."""
_LOST, _JUDGED = 16, 8
"""Of a logit in one chunk of the loss or of a judgement (see `learning.Speaker`), and of what is computed from it."""
_ROOM = {"cuda": 0.8, "cpu": 0.25}
"""How much of what is left may hold features."""
_SLOTS, _FEW = {"cuda": 256, "cpu": 8}, 64
"""Answers at once, at most: how many there are bounds a short training on a GPU. More than a few, if they leave half of
the memory: features that are not kept are computed again."""
_TEXTS, _ROWS = {"cuda": 128, "cpu": 8}, {"cuda": 128, "cpu": 64}
"""Of a step, at most, and predictions of each."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How much is done at once."""

    layers: int
    slots: int
    """Answers of the target."""
    texts: int
    """Of one step."""
    rows: int
    """Predictions of one step."""
    needed: int
    free: float
    room: int
    """Bytes in which features may be kept."""
    wanted: int
    """Layers that it would have, were there room."""

    def __str__(self) -> str:
        free = "" if self.free == inf else f" of {self.free / _GIB:.1f}"
        fewer = "" if self.layers == self.wanted else f" ({self.wanted} do not fit)"
        return (
            f"about {self.needed / _GIB:.1f}{free} GiB: {self.layers} layers{fewer}, {self.texts} texts a step, "
            f"{self.slots} answers at once"
        )


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Bytes that a training takes, by how much is done at once."""

    facts: TargetFacts
    parameters: Callable[[int], int]
    """Those of the drafter that learn, by its layers."""
    passes: int
    """Of the drafter, one behind the other, at most."""
    length: int
    device: torch.device
    dtype: torch.dtype
    """Of the target."""
    tables: int = 0
    """Copies of its embedding and head that the drafter has."""

    def bytes(self, layers: int, slots: int, texts: int, rows: int) -> int:
        """Of everything."""
        facts, size, parameters = self.facts, self.dtype.itemsize, self.parameters(layers)
        options = ModelOptions(name=facts.name, device=self.device, dtype=self.dtype, context=self.length, slots=slots)
        target, positions = memory.needs(facts.folder, facts.config, **options), texts * self.length
        learning = parameters * _LEARNING + min(parameters, AT_ONCE) * _MOVED
        learning += (1 + self.tables) * facts.vocab * facts.hidden * size  # the target's head as a plain product
        wide = 14 * facts.hidden + 6 * (getattr(facts.config, "intermediate_size", None) or 3 * facts.hidden)
        passes = (positions + rows) * layers * wide * 4
        passes += positions * layers * 2 * facts.hidden * 4 * self.passes  # each takes the keys and values once more
        features = 2 * positions * (layers + 3) * facts.hidden * size  # as they are kept, and side by side
        logits = max(
            _LOST * min(rows * facts.vocab, self.passes * LOGITS_AT_ONCE),
            _JUDGED * min(positions * facts.vocab, LOGITS_AT_ONCE),
        )
        spare = _SPARE.get(self.device.type, 0)
        return target.weights + target.cache + learning + passes + features + logits + spare


def plan(needs: MemoryNeeds, layers: int, free: float, *, fixed: bool) -> MemoryPlan:
    """The largest that fits: first fewer answers at once, then fewer texts a step, then the drafter gets fewer layers,
    unless they are `fixed`. Raises NotEnoughMemory where nothing does."""
    kind = needs.device.type
    smallest, few = 0, min(_FEW, _SLOTS.get(kind, 8))
    for depth in [layers] if fixed else range(layers, 0, -1):
        slots = _SLOTS.get(kind, 8)
        while slots:
            texts = min(2 * slots, _TEXTS.get(kind, 8))
            rows = texts * _ROWS.get(kind, 64)
            smallest = needs.bytes(depth, slots, texts, rows)
            if smallest <= (free if slots <= _FEW else free / 2):
                # an answer takes little beside a text of a step: more of them may have half of what is left
                most = smallest + (free - smallest) / 2
                while slots < few and (more := needs.bytes(depth, 2 * slots, texts, rows)) <= most:
                    slots, smallest = 2 * slots, more
                left = _ROOM.get(kind, 0.25) * (free - smallest) if free < inf else 2 * _GIB
                return MemoryPlan(depth, slots, texts, rows, smallest, free, int(left), layers)
            slots //= 2
    raise NotEnoughMemory(
        f"training a drafter for {needs.facts.name} takes at least {smallest / _GIB:.1f} GiB; free are "
        f"{free / _GIB:.1f} GiB on {needs.device}; expected a smaller target, one in 4 bits (specdec quantize), or a "
        "larger device"
    )
