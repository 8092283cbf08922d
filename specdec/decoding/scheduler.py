"""Who waits and who runs: a bounded queue in front of a fixed number of slots.

Higher priority first. Within a priority clients take turns, and a client that has many slots waits for one that has
fewer; a client's own requests are first come, first served. Waiting raises the priority, so that nobody starves.

Where slots share memory, nobody is let in for whom there is none, but for one that runs alone. If those that run grow
beyond it all the same, the youngest waits again.

A free slot keeps the tokens of the sequence that left it, and the next request takes the free slot whose tokens share
the longest prefix with its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from specdec.decoding.sequence import Running
from specdec.errors import EngineBusy
from specdec.models.base import DECODE_ROWS
from specdec.models.state import SlotState
from specdec.types import Queued

_NEXT = 3 * DECODE_ROWS
"""Tokens that the rounds of a sequence may write before they are known to have been needed."""
AGING = 10.0
"""Seconds in the queue that count as one step of priority."""


class Scheduler:
    """Not thread-safe: the engine holds its lock around every call."""

    def __init__(self, state: SlotState, queue_limit: int, now: Callable[[], float] = time.perf_counter) -> None:
        self._state, self._queue_limit, self._now = state, queue_limit, now
        self._waiting: list[Running] = []
        """In order of arrival."""
        self.running: dict[int, Running] = {}

    @property
    def idle(self) -> bool:
        return not self._waiting and not self.running

    def submit(self, row: Running) -> None:
        waiting = sum(not other.cancelled for other in self._waiting)
        if waiting >= self._queue_limit:
            raise EngineBusy(f"{waiting} requests are waiting, as many as the queue holds; try again later")
        self._waiting.append(row)

    def waiting(self) -> list[Running]:
        """Who waits, in the order in which they would be served."""
        if len(self._waiting) < 2:
            return list(self._waiting)
        now, taken = self._now(), Counter(row.request.client for row in self.running.values())
        urgency = {row: row.request.priority + int((now - row.received) / AGING) for row in self._waiting}
        turn: dict[Running, tuple[int, int]] = {}
        for row in sorted(self._waiting, key=lambda row: -urgency[row]):
            turn[row] = -urgency[row], taken[row.request.client]
            taken[row.request.client] += 1
        return sorted(turn, key=lambda row: turn[row])

    def queue(self) -> tuple[Queued, ...]:
        """What can be said of those who wait."""
        now = self._now()
        return tuple(
            Queued(row.request.id, position, now - row.received, row.request.priority, row.request.client)
            for position, row in enumerate(self.waiting(), 1)
        )

    def admit(self) -> None:
        """Give free slots to those who wait."""
        if not self._waiting or len(self.running) == len(self._state.slots):
            return
        for row in self.waiting():
            if len(self.running) == len(self._state.slots):
                return
            # memory for its tokens, beside those of the others, and for the next rounds of all
            running = [(slot, len(other.tokens) + _NEXT) for slot, other in self.running.items()]
            if running and not self._state.prefixes.fits(row.tokens, _NEXT, running):
                return
            free = [slot for slot in range(len(self._state.slots)) if slot not in self.running]
            slot = self._state.nearest(free, row.tokens)
            row.context.slot, row.started = slot, row.started or self._now()
            self._waiting.remove(row)
            self.running[slot] = row

    def pause(self) -> Running | None:
        """Let the youngest of several wait again, before all that came after it; None where one runs alone."""
        if len(self.running) < 2:
            return None
        row = max(self.running.values(), key=lambda row: row.context.sequence_id)
        del self.running[row.context.slot]
        self._waiting.insert(0, row)
        row.paused = True
        return row

    def release(self, row: Running) -> bool:
        """Free the row's slot, or take it out of the queue. Whether it had a slot."""
        if ran := self.running.get(row.context.slot) is row:
            del self.running[row.context.slot]
        elif row in self._waiting:
            self._waiting.remove(row)
        return ran

    def leaving(self) -> list[Running]:
        """Who was cancelled, or has no time left."""
        now = self._now()
        everyone = (*self.running.values(), *self._waiting)
        return [row for row in everyone if row.cancelled or now > row.deadline]

    def everyone(self) -> list[Running]:
        return [*self.running.values(), *self._waiting]
