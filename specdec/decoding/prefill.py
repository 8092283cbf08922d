"""Prompts on their way through the target, chunk by chunk, after what is known of them was restored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from specdec.decoding.rounds.clock import DeviceClock
from specdec.decoding.sequence import Running
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import Drafter, Seen
from specdec.models.base import Batch, Model

_CHUNKS = (2048, 1024, 512, 256, 128, 64, 32)
_LONGEST_ON_CPU = 512
_STALL = 0.04
"""Seconds that a chunk may take while answers are being written: they wait for it."""


class Prefill:
    """Runs one chunk at a time. `verify_cost` tells the time of a chunk until one was measured; `observers` hear of all
    that the target has seen, with its `features`."""

    def __init__(
        self,
        target: Model,
        verify_cost: CostCurve,
        observers: Sequence[Drafter] = (),
        features: tuple[int, ...] = (),
    ) -> None:
        self._target, self._guess = target, verify_cost
        self._observers, self._features = observers, features
        self._clock, self._cost = DeviceClock(target.info.device), CostCurve()
        self._timed: tuple[int, Any, Any] | None = None
        on_cpu = target.info.device.type == "cpu"
        self._longest = _LONGEST_ON_CPU if on_cpu else _CHUNKS[0]
        self._tried = _LONGEST_ON_CPU // 2
        """The longest chunk whose time is known."""
        self._each = 0.0
        """Seconds a token in the last chunk: more behind a long prompt than at its start."""

    def turns(self, prompts: Iterable[Running]) -> Iterator[Running]:
        """Whose prompt shall `advance` next, one after another: the first, and others that can be finished in what
        remains of a chunk while answers are being written. What only known prefixes hold is not counted on."""
        began, read = time.perf_counter(), 0
        for row in sorted(prompts, key=lambda row: (-row.request.priority, row.context.sequence_id)):
            state, slot = self._target.state, row.context.slot
            if read:
                left = len(row.tokens) - state.shared(slot, row.tokens)
                spent = time.perf_counter() - began + self._seconds(left)
                if read + left > self._size(alone=False) or spent > _STALL:
                    return
            before = None if row.cached is None else state.slots[slot].length
            yield row
            if not row.prefilled:
                return
            read += row.context.prompt_length - ((row.cached or 0) if before is None else before)

    def advance(self, row: Running, *, alone: bool) -> Tensor | None:
        """Run the next chunk of a prompt; `alone` when no answer waits for it. The last one gives the logits [1, 1, V]
        after the prompt."""
        slot, state = row.context.slot, self._target.state
        if row.cached is None:
            row.cached = state.begin(slot, row.tokens)
            for drafter in self._observers if row.cached else ():
                drafter.observe(Seen(row.context, 0, row.cached))
        start = state.slots[slot].length
        end = min(start + self._size(alone=alone), len(row.tokens))
        done = end == len(row.tokens)
        chunk = torch.tensor([row.tokens[start:end]], device=self._target.info.device)
        began = self._clock.mark()
        found = self._target.run(Batch(chunk, [slot], [start], int(done), self._features))
        self._timed = (end - start, began, self._clock.mark())
        state.commit(slot, end)
        features = None if found.features is None else found.features[0]
        for drafter in self._observers:
            drafter.observe(Seen(row.context, start, end - start, features))
        return found.logits if done else None

    def _size(self, *, alone: bool) -> int:
        """Tokens of a chunk: as many as pass without a stall, but at most twice as many as were tried."""
        chunks = [size for size in _CHUNKS if size <= self._longest]
        if alone:
            return chunks[0]
        if self._timed and self._timed[0] in chunks:  # read only now, since it has passed on the device meanwhile
            size, began, ended = self._timed
            seconds = self._clock.seconds(began, ended)
            self._cost.observe(size, seconds)
            self._tried, self._each, self._timed = max(self._tried, size), seconds / size, None
        return next((s for s in chunks if s <= 2 * self._tried and self._seconds(s) <= _STALL), chunks[-1])

    def _seconds(self, size: int) -> float:
        return max(self._cost.estimate(size) or self._guess.estimate(size), self._each * size)
