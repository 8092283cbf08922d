"""CUDA graphs: stretches of device work that are launched as one.

A graph is made at load or while nothing else is to do, never inside an answer: a stretch that has none runs as it is.
It reads and writes the same tensors each time. Graphs share one pool of memory, so at most one of them may be needed
at a time.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from specdec.transfer import to_device

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_KEPT = 128
"""Graphs; the one that was not used for longest goes first."""
_one_at_a_time = threading.Lock()
"""Making a graph waits for the whole device, and such a wait would end another engine's capture."""


class NotCaptured(RuntimeError):
    """A stretch of work did not become a graph. It can run as it is."""


@dataclass(frozen=True, slots=True)
class _Captured(Generic[T]):
    graph: Any
    result: T


class Graphs(Generic[K, T]):
    """The graphs of one device's worker, whose stretches result in tensors, or in what holds some. Without `capture`
    every stretch runs as it is, each time, and none is ever missed."""

    def __init__(self, *, capture: bool = True) -> None:
        self._capturing = capture
        self._captured: OrderedDict[K, _Captured[T]] = OrderedDict()
        self._missed: Counter[K] = Counter()
        self._pool: Any = None
        self.nbytes = 0
        """Device memory that their tensors take."""

    def __contains__(self, key: K) -> bool:
        """Whether a stretch runs as fast as it ever will."""
        return not self._capturing or key in self._captured

    def __iter__(self) -> Iterator[K]:
        """Those that there are graphs for."""
        return iter(self._captured)

    def run(self, key: K, record: Callable[[], T]) -> T:
        """The result of `record`, which must do the same work whenever `key` is the same. It stays valid until the
        next call."""
        if found := self._captured.get(key):
            self._captured.move_to_end(key)
            found.graph.replay()
            return found.result
        return record()

    def make(self, key: K, record: Callable[[], T], *, ran: bool = False) -> None:
        """Make the graph of `key`. Its stretch runs once before, unless it `ran`: kernels are compiled when they first
        run. NotCaptured where another thread of this process waited for the whole device meanwhile."""
        self._missed.pop(key, None)
        if key in self:
            return
        if not ran:
            record()
        try:
            self._captured[key] = self._capture(record)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise NotCaptured(str(error).partition("\n")[0]) from error
        if len(self._captured) > _KEPT:
            self._captured.popitem(last=False)

    def miss(self, key: K) -> None:
        """Note that its graph would have been of use."""
        if key not in self:
            self._missed[key] += 1

    @property
    def wanted(self) -> K | None:
        """What was missed most often."""
        return next((key for key, _ in self._missed.most_common(1)), None)

    def _capture(self, record: Callable[[], T]) -> _Captured[T]:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with _one_at_a_time, torch.cuda.stream(torch.cuda.current_stream()):  # given back after a failure too
            torch.cuda.synchronize()
            before = torch.cuda.memory_reserved()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = record()
        self.nbytes += max(torch.cuda.memory_reserved() - before, 0)
        return _Captured(graph, result)


class GraphInputs:
    """What graphs of passes read, filled up to their sizes: there is one of each."""

    def __init__(self, spare: int, device: torch.device, dtype: torch.dtype) -> None:
        self._spare, self._device, self._dtype = spare, device, dtype
        self._made: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def idle(self, rows: int, width: int) -> tuple[Tensor, Tensor]:
        """The same, with nothing but spare rows."""
        return self.fill(torch.zeros(1, width, dtype=torch.int64), [self._spare], [0], rows, width)

    def fill(
        self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], rows: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Tokens [rows, width] int64, and [3, rows] of slots, starts and which token is the row's last. Rows and tokens
        beyond those given are any; such rows lie in the spare slot."""
        count, empty = tokens.shape[1], rows - len(slots)
        if (rows, width) not in self._made:
            self._made[rows, width] = (
                torch.zeros(rows, width, dtype=torch.int64, device=self._device),
                torch.zeros(3, rows, dtype=self._dtype, device=self._device),
            )
        held, where = self._made[rows, width]
        held[: len(slots), :count].copy_(tokens)
        places = [[*slots, *[self._spare] * empty], [*starts, *[0] * empty], [count - 1] * rows]
        where.copy_(to_device(places, self._device, self._dtype))
        return held, where


_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def rows_to_capture(slots: int) -> tuple[int, ...]:
    """Numbers of rows for which graphs are made; others are filled up."""
    return (*(size for size in _SIZES if size < slots), slots)


def bucket(count: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes` (ascending) that holds `count`."""
    return next(size for size in sizes if size >= count)


def smallest(
    graphs: Graphs[K, T],
    rows: int,
    count: int,
    sizes: tuple[int, ...],
    widths: tuple[int, ...],
    key: Callable[[int, int], K],
) -> tuple[int, int]:
    """The fewest (rows, tokens a row) of a graph that holds so many: filling up costs less than to do without one.
    Where there is none, those that it would have."""
    shapes = [(size, width) for size in sizes if size >= rows for width in widths if width >= count]
    made = [shape for shape in shapes if key(*shape) in graphs]
    return min(made, key=lambda shape: shape[0] * shape[1], default=shapes[0])


class Fetched:
    """A result on its way to the host, where it was when this was made."""

    def __init__(self, result: Tensor) -> None:
        self._done: Any = None
        if not result.is_cuda:
            self._host = result.clone()
            return
        self._host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        self._host.copy_(result, non_blocking=True)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._done.record()

    def wait(self) -> list[int]:
        if self._done is not None:
            self._done.synchronize()
        values: list[int] = self._host.tolist()
        return values
