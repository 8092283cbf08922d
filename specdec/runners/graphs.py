"""CUDA graphs: stretches of device work that are launched as one.

A stretch runs as it is the first time it is asked for, and is captured then; from the next time on it is replayed. It
reads and writes the same tensors each time. Graphs share one pool of memory, so at most one of them may be needed at a
time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_KEPT = 128
"""Graphs; the one that was not used for longest goes first."""


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: Any
    result: Tensor


class Graphs:
    """The graphs of one device's worker."""

    def __init__(self) -> None:
        self._captured: OrderedDict[Hashable, _Captured] = OrderedDict()
        self._pool: Any = None
        self.nbytes = 0
        """Device memory that their tensors take."""

    def __contains__(self, key: Hashable) -> bool:
        return key in self._captured

    def run(self, key: Hashable, record: Callable[[], Tensor]) -> Tensor:
        """The result of `record`, which must do the same work whenever `key` is the same. It stays valid until the
        next call."""
        found = self._captured.get(key)
        if found is None:
            result = record()
            self._captured[key] = self._capture(record)
            if len(self._captured) > _KEPT:
                self._captured.popitem(last=False)
            return result
        self._captured.move_to_end(key)
        found.graph.replay()
        return found.result

    def _capture(self, record: Callable[[], Tensor]) -> _Captured:
        torch.cuda.synchronize()
        before = torch.cuda.memory_reserved()
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = record()
        self.nbytes += max(torch.cuda.memory_reserved() - before, 0)
        return _Captured(graph, result)


def bucket(count: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes` (ascending) that holds `count`."""
    return next(size for size in sizes if size >= count)


def to_device(
    values: Sequence[Sequence[float]], device: torch.device, dtype: torch.dtype = torch.int64
) -> Tensor:
    """A tensor of `values` without waiting for the device."""
    if device.type != "cuda":
        return torch.tensor(values, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)
