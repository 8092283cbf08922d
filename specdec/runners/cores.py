"""How many cores a model on the CPU computes with.

The threads of one product wait for each other, awake. With as many as there are cores, whatever else runs for a moment
(a screen, a server, another program) stops one of them, and so all. So one core of several is left alone; of two,
one is lent while the process that shows the answers wants it.
"""

from __future__ import annotations

import os
from functools import cache

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


@cache
def _lends() -> bool:
    """Asked once, before anything was lent: a thread that begins while one is would count one."""
    return courtesy.watching() and torch.get_num_threads() == _FEW == _cores()


def lend_one() -> None:
    """Called before a product: from now on one thread, or both again. A product is the same with either."""
    if _lends():
        fit = 1 if courtesy.wanted() else _FEW
        if fit != torch.get_num_threads():
            torch.set_num_threads(fit)
