"""How often the threads of this process that compute are stopped: how long they stand in the queue for a core.

Linux counts it for each thread (schedstat). Elsewhere nothing is known, and no thread is said to be stopped.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import perf_counter_ns
from typing import NamedTuple

_TASKS = "/proc/self/task"
_BUSY = 0.5
"""Of the time, that a thread has to have run or wanted to, to be one that computes."""


class _Times(NamedTuple):
    """Nanoseconds."""

    ran: int
    waited: int


class Stalls:
    """Looks from time to time."""

    def __init__(self) -> None:
        self._times, self._at = _times(), perf_counter_ns()

    def share(self) -> float:
        """Of the time since the last look, in how much of it a thread that computes was stopped; two at once count
        twice."""
        before, self._times = self._times, _times()
        began, self._at = self._at, perf_counter_ns()
        wall, stopped = self._at - began, 0
        for thread in before.keys() & self._times.keys():
            ran, waited = (now - then for now, then in zip(self._times[thread], before[thread], strict=True))
            if ran + waited > _BUSY * wall:
                stopped += waited
        return stopped / wall


def _times() -> dict[str, _Times]:
    try:
        threads = os.listdir(_TASKS)
    except OSError:
        return {}
    found = {}
    for thread in threads:
        with suppress(OSError, ValueError):  # it has ended, or the system does not say
            with open(f"{_TASKS}/{thread}/schedstat", "rb", 0) as file:
                ran, waited, _ = file.read().split()
            found[thread] = _Times(int(ran), int(waited))
    return found
