"""Prompts on their way through the target, chunk by chunk, after what is known of them was restored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from specdec.decoding.rounds.clock import ChunkTimer
from specdec.decoding.sequence import Running
from specdec.decoding.speculation.chunks import SIZES, STALL, ChunkCosts
from specdec.drafters.base import Drafter, Seen
from specdec.models.base import Batch, Model
from specdec.models.state import shared_prefix
from specdec.transfer import to_device

_LONGEST_ON_CPU = 512
_WORTH_WAITING = 64
"""Tokens that a prompt shares with another, so that it waits until that one was read and can be found."""


class Prefill:
    """Runs one chunk at a time. `costs` tell the time of chunks; `observers` hear of all that the target has seen, with
    its `features`, and what they make of that is part of a chunk's time."""

    def __init__(
        self, target: Model, costs: ChunkCosts, observers: Sequence[Drafter] = (), features: tuple[int, ...] = ()
    ) -> None:
        self._target, self._costs = target, costs
        self._observers, self._features = observers, features
        self._timer = ChunkTimer(target.info.device, costs)
        self._longest = _LONGEST_ON_CPU if target.info.device.type == "cpu" else SIZES[0]
        self._together = target.info.together
        self._turns = 0
        self._left = 0.0
        """Seconds that chunks may still take before answers go on."""

    def turns(self, prompts: Sequence[Running], *, alone: bool) -> Iterator[Running]:
        """Whose prompt shall `advance` next, one after another. While answers are being written (not `alone`) all that
        is read at once takes no longer than they may wait. Within a priority prompts take turns, so that a short one
        need not wait for a long one."""
        self._timer.learn()
        self._left = math.inf if alone else STALL
        ordered = sorted(prompts, key=lambda row: (-row.request.priority, row.turn, row.context.sequence_id))
        for row in [row for row in ordered if not self._waits(row, prompts)]:
            yield row
            held = self._target.state.slots[row.context.slot].length
            if self._left <= 0 or (alone and (row.paused or held < row.context.prompt_length)):
                return
            self._left = min(self._left, STALL)  # its answer begins

    def advance(self, row: Running) -> Tensor | None:
        """Run the next chunk of a prompt. The last one gives the logits [1, 1, V] after the prompt. There are none
        where the answer had begun already: it goes on."""
        start, slot, state = self._restored(row), row.context.slot, self._target.state
        last = len(row.tokens) - row.paused
        if start == last:  # of a paused row all may be known
            row.paused = False
            return None
        size = self._longest if self._left == math.inf else self._costs.longest(start, self._left, self._longest)
        if size is None and self._left < STALL:
            self._left = 0.0
            return None
        self._turns += 1
        row.turn = self._turns
        size = size or SIZES[-1]
        end = start + max(size - size % self._together, self._together)
        end = end if last - end > self._together // 4 else last
        if self._left < math.inf:
            self._left -= self._costs.estimate(end - start, start)
        done = end == last and not row.paused
        chunk = to_device([row.tokens[start:end]], self._target.info.device)
        began = self._timer.mark()
        found = self._target.run(Batch(chunk, [slot], [start], int(done), self._features))
        state.commit(slot, end)
        row.paused = row.paused and end < last
        features = None if found.features is None else found.features[0]
        for drafter in self._observers:
            drafter.observe(Seen(row.context, start, end - start, features))
        self._timer.ended(began, end - start, start)
        return found.logits if done else None

    def _restored(self, row: Running) -> int:
        """How many tokens of the prompt were read, after what is known of it was restored."""
        state, slot = self._target.state, row.context.slot
        if row.cached is None or state.slots[slot].tokens is not row.tokens:
            known = state.begin(slot, row.tokens)
            row.cached = known if row.cached is None else row.cached
            for drafter in self._observers if known else ():
                drafter.observe(Seen(row.context, 0, known))
        return state.slots[slot].length

    def _waits(self, row: Running, prompts: Sequence[Running]) -> bool:
        """Whether a prompt that was not begun had better wait for one that begins alike, whose beginning need not be
        read twice. As soon as that was read it can be found: what follows there may be long."""
        ahead = [other for other in prompts if other.context.sequence_id < row.context.sequence_id]
        if row.cached is not None or not ahead:
            return False
        state = self._target.state
        least = max(_WORTH_WAITING, state.shared(row.context.slot, row.tokens) + 1)
        for other in (other for other in ahead if other.tokens[:least] == row.tokens[:least]):
            held = state.slots[other.context.slot]
            read = held.length if held.tokens is other.tokens else 0
            if other.tokens[: read + 1] == row.tokens[: read + 1]:
                return True
            state.save(other.context.slot, shared_prefix(other.tokens[:read], row.tokens))
        return False
