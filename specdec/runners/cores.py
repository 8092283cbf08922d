"""How many cores a model on the CPU computes with.

The threads of one product wait for each other, awake. With as many as there are cores, whatever else runs for a moment
(a screen, a server, another program) stops one of them, and so all. So one core of several is left alone; of two,
one is lent while the process that shows the answers wants it; and while other programs keep stopping them, half of the
threads are faster than all. A product is the same to the bit with any number.
"""

from __future__ import annotations

import os
import threading
from time import perf_counter

import torch

from specdec import courtesy
from specdec.runners.stalls import Stalls

_FEW = 2
"""Of so few cores none can be spared for good."""
_WINDOW = 0.2
"""Seconds between looks at who was stopped."""
_TOO_MUCH = 0.4
"""Of the time with one thread or another stopped."""
_SHORTEST, _LONGEST = 0.5, 8.0
"""Seconds until more threads are tried again; twice as long each time that was in vain."""


_allowed: tuple[int, ...] = ()


def counts() -> tuple[int, ...]:
    """Numbers of threads for a model to compute with, the best first; one if it was chosen already
    (torch.set_num_threads, OMP_NUM_THREADS)."""
    cores, threads = _cores(), torch.get_num_threads()
    if threads in _allowed:
        return _allowed
    if threads != cores or "OMP_NUM_THREADS" in os.environ:
        return (threads,)
    most = cores if cores <= _FEW else cores - 1
    return tuple(most >> halvings for halvings in range(most.bit_length()))


def allow(counts: tuple[int, ...]) -> None:
    """From now on only these, the best first."""
    global _allowed  # noqa: PLW0603  (torch's own number is the process's too)
    _allowed = counts


def take() -> None:
    """Compute with the best number, in this thread and those that begin to compute later."""
    torch.set_num_threads(counts()[0])


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Crew(threading.local):
    """The threads that one thread computes with. Each has its own: torch counts so too."""

    def __init__(self) -> None:
        self._now = torch.get_num_threads()
        self._counts = _allowed if self._now in _allowed else (self._now,)
        self._lends = courtesy.watching() and self._counts == (2, 1) and _cores() == _FEW
        self._stalls = Stalls() if len(self._counts) > 1 else None
        self._at = 0
        self._pause = _SHORTEST
        self._look = self._again = 0.0

    def fit(self) -> None:
        """Before a product."""
        if self._stalls and (now := perf_counter()) > self._look:
            self._look = now + _WINDOW
            self._judge(self._stalls.share(), now)
        wanted = 1 if self._lends and courtesy.wanted() else self._counts[self._at]
        if wanted != self._now:
            torch.set_num_threads(wanted)
            self._now = wanted

    def _judge(self, stopped: float, now: float) -> None:
        if stopped > _TOO_MUCH and self._at < len(self._counts) - 1:
            self._at += 1
            self._again = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST)
        elif not self._at:
            self._pause = _SHORTEST
        elif now > self._again:
            self._at -= 1


crew = Crew()
