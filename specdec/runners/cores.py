"""How many cores a model on the CPU computes with.

The threads of one product wait for each other, awake. With as many as there are cores, whatever else runs for a moment
(a screen, a server, another program) stops one of them, and so all. So one core of several is left alone; of two,
one is lent while the process that shows the answers wants it.
"""

from __future__ import annotations

import os
import threading

import torch

from specdec import courtesy

_FEW = 2
"""Of so few cores none can be spared for good."""


def spare_one() -> None:
    """Leave one core to everything else, in this thread and those that begin to compute later, unless a number of
    threads was chosen already (torch.set_num_threads, OMP_NUM_THREADS)."""
    cores = _cores()
    if cores > _FEW and torch.get_num_threads() == cores and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores - 1)


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Threads(threading.local):
    """Of the thread that asks, as torch counts them."""

    def __init__(self) -> None:
        self.now = torch.get_num_threads()
        self.lends = self.now == _FEW == _cores()


_threads = _Threads()


def lend_one() -> None:
    """Called before a product: from now on one thread, or both again. A product is the same with either."""
    if not _threads.lends:
        return
    fit = 1 if courtesy.wanted() else _FEW
    if fit != _threads.now:
        torch.set_num_threads(fit)
        _threads.now = fit
