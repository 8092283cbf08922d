"""Who waits and who runs: a bounded queue in front of a fixed number of slots.

First come, first served. A free slot keeps the tokens of the sequence that left it, and the next request takes the
free slot whose tokens share the longest prefix with its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from specdec.errors import EngineBusy
from specdec.local.sequence import Running


class Scheduler:
    """Not thread-safe: the engine holds its lock around every call."""

    def __init__(self, slots: int, queue_limit: int, reuse_prefixes: bool) -> None:
        self._queue_limit, self._reuse = queue_limit, reuse_prefixes
        self._held: list[list[int]] = [[] for _ in range(slots)]
        self.waiting: deque[Running] = deque()
        self.running: dict[int, Running] = {}

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def submit(self, row: Running) -> None:
        if len(self.waiting) >= self._queue_limit:
            raise EngineBusy(
                f"{len(self.waiting)} requests are waiting, as many as the queue holds; try again later"
            )
        self.waiting.append(row)

    def admit(self) -> list[Running]:
        """Give free slots to those who wait; returns who got one."""
        admitted = []
        while self.waiting and len(self.running) < len(self._held):
            row = self.waiting.popleft()
            free = [s for s in range(len(self._held)) if s not in self.running]
            shared = {s: shared_prefix(self._held[s], row.tokens) if self._reuse else 0 for s in free}
            slot = max(free, key=lambda s: (shared[s], -len(self._held[s])))
            # the last token always goes through the target: its logits are the answer's first
            row.computed = row.cached = min(shared[slot], len(row.tokens) - 1)
            row.context.slot = slot
            self.running[slot] = row
            admitted.append(row)
        return admitted

    def release(self, row: Running) -> None:
        """Free the row's slot, or take it out of the queue."""
        if self.running.get(row.context.slot) is row:
            del self.running[row.context.slot]
            self._held[row.context.slot] = row.tokens[: row.computed]
        elif row in self.waiting:
            self.waiting.remove(row)

    def cancelled(self) -> list[Running]:
        """Who wants to leave."""
        return [row for row in (*self.waiting, *self.running.values()) if row.cancelled]


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
