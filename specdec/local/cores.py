"""How many cores a model on the CPU computes with.

The threads of one product wait for each other, awake. With as many as there are cores, whatever else runs for a moment
(a screen, a server, another program) stops one of them, and so all.
"""

from __future__ import annotations

import os

import torch

_FEW = 2
"""Of so few cores none can be spared."""


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
