"""How many threads a model on the CPU computes with.

The threads of one product wait for each other, awake. With as many as there are cores, whatever else runs for a moment
(a screen, a server, another program) stops one of them, and so all. So one core of several is left alone; and while
other programs keep stopping threads, so many fewer are faster than all. Asked once a pass.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from time import perf_counter
from typing import ClassVar

import torch

from specdec.threads.stalls import Stalls

_FEW = 2
"""Of so few cores none can be spared for good."""
_WINDOW = 0.2
"""Seconds between looks at who was stopped."""
_TOO_MUCH = 0.4
"""Of the time with a thread stopped. Others' threads that want cores as well come to one each."""
_SHORTEST, _LONGEST = 0.5, 8.0
"""Seconds until more threads are tried again; twice as long each time that was in vain."""


def spare_one() -> None:
    """Leave one core to everything else, in this thread and those that begin to compute later, unless a number of
    threads was chosen already (torch.set_num_threads, OMP_NUM_THREADS)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > _FEW and ThreadCount.unaltered() == cores and not _chosen():
        torch.set_num_threads(cores - 1)
        ThreadCount.altered_from = None
    threads.begin()


@contextmanager
def fixed() -> Iterator[None]:
    """Leave one core as `spare_one` does, and keep to that number in this thread and in those that begin meanwhile,
    whoever else computes: sums in one order have the same bits."""
    ThreadCount.adapts = False
    try:
        spare_one()
        yield
    finally:
        ThreadCount.adapts = True
        threads.begin()


def _chosen() -> bool:
    return "OMP_NUM_THREADS" in os.environ


class ThreadCount(threading.local):
    """The number of threads that one thread computes with. Each has its own: torch counts so too."""

    altered_from: ClassVar[int | None] = None
    """The number before, once it was changed here: threads that begin later count the changed one."""
    adapts: ClassVar[bool] = True

    def __init__(self) -> None:
        self.begin()

    @classmethod
    def unaltered(cls) -> int:
        """What this thread would count, had nothing been changed."""
        return cls.altered_from or torch.get_num_threads()

    def begin(self) -> None:
        """Anew, with the number that this thread counts by now."""
        self._now = torch.get_num_threads()
        self._most = self._count = self.unaltered()
        self._stalls = Stalls() if self.adapts and self._most > 1 and not _chosen() else None
        self._pause = _SHORTEST
        self._look, self._again = perf_counter() + _WINDOW, 0.0

    def fit(self) -> None:
        """Before a pass."""
        if self._stalls and (now := perf_counter()) > self._look:
            self._look = now + _WINDOW
            stopped = self._stalls.share()
            if stopped > _TOO_MUCH and self._count > 1:
                self._count = max(1, self._count - ceil(stopped))
                self._again = now + self._pause
                self._pause = min(2 * self._pause, _LONGEST)
            elif self._count == self._most:
                self._pause = _SHORTEST
            elif now > self._again:
                self._count = self._most
        if self._count != self._now:
            ThreadCount.altered_from = self._most
            torch.set_num_threads(self._count)
            self._now = self._count


threads = ThreadCount()
