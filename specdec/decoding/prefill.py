"""Prompts on their way through the target, chunk by chunk, after what is known of them was copied from the cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specdec.decoding.rounds.clock import DeviceClock
from specdec.decoding.speculation.costs import CostCurve
from specdec.decoding.sequence import Running
from specdec.models.base import Runner
from specdec.models.prefixes import PrefixCache

_CHUNKS = (512, 256, 128, 64, 32)
_STALL = 0.05
"""Seconds that a chunk may take while answers are being written: they wait for it."""


class Prefill:
    """Runs one chunk at a time. `verify_cost` tells the time of a chunk until one was measured."""

    def __init__(self, target: Runner, prefixes: PrefixCache, verify_cost: CostCurve) -> None:
        self._target, self._prefixes, self._guess = target, prefixes, verify_cost
        self._clock, self._cost = DeviceClock(target.info.device), CostCurve()
        self._timed: tuple[int, Any, Any] | None = None

    def advance(self, row: Running, *, alone: bool) -> Tensor | None:
        """Run the next chunk of a prompt; `alone` when no answer waits for it. The last one gives the logits [1, 1, V]
        after the prompt."""
        if row.cached is None:
            self._begin(row)
        end = min(row.computed + self._size(alone=alone), len(row.tokens))
        done = end == len(row.tokens)
        chunk = torch.tensor([row.tokens[row.computed : end]], device=self._target.info.device)
        began = self._clock.mark()
        logits = self._target.forward(chunk, [row.context.slot], [row.computed], int(done))
        self._timed = (end - row.computed, began, self._clock.mark())
        row.computed = end
        return logits if done else None

    def fits(self, row: Running, read: int, seconds: float) -> bool:
        """Whether the prompt can be finished in what remains of a chunk while answers are being written, after `read`
        tokens of others, which took so many seconds. What only the cache knows of it is not counted on."""
        left = len(row.tokens) - row.computed
        return read + left <= self._size(alone=False) and seconds + self._seconds(left) <= _STALL

    def keep(self, row: Running) -> None:
        """What the row's slot holds can be found from now on."""
        if self._target.info.can_rollback and row.computed:
            self._prefixes.save(row.context.slot, row.tokens[: row.computed])

    @property
    def kept(self) -> int:
        """Tokens in the prefix cache."""
        return self._prefixes.size

    def _begin(self, row: Running) -> None:
        if self._target.info.can_rollback:
            # the last token always goes through the target: its logits are the answer's first
            row.computed = self._prefixes.restore(row.context.slot, row.tokens[:-1], row.computed)
        row.cached = row.computed

    def _size(self, *, alone: bool) -> int:
        if alone:
            return _CHUNKS[0]
        self._learn()
        return next((size for size in _CHUNKS if self._seconds(size) <= _STALL), _CHUNKS[-1])

    def _seconds(self, size: int) -> float:
        return self._cost.estimate(size) or self._guess.estimate(size)

    def _learn(self) -> None:
        """Read the last chunk's time, only now, since it has passed on the device meanwhile."""
        if self._timed and self._timed[0] in _CHUNKS:
            size, began, ended = self._timed
            self._cost.observe(size, self._clock.seconds(began, ended))
            self._timed = None
