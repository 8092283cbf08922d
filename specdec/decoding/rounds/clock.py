"""Times stretches of device work without stopping the device in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from specdec.decoding.speculation.chunks import ChunkCosts


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where a round's time went."""

    draft: float
    verify: float


class DeviceClock:
    """`mark()` where a stretch begins or ends; `seconds(a, b)` only after the host has synchronised once past b.

    Marks are opaque: the host's clock on a CPU, events in the device's stream on a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"

        def event() -> torch.cuda.Event:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            return event

        self.mark: Callable[[], Any] = event if self._cuda else time.perf_counter

    def seconds(self, start: Any, end: Any) -> float:
        if not self._cuda:
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000


class ChunkTimer:
    """Times one chunk after the other without waiting for the device: a chunk is learnt from when the next one is
    planned."""

    def __init__(self, device: torch.device, costs: ChunkCosts) -> None:
        self._clock, self._costs = DeviceClock(device), costs
        self.mark = self._clock.mark
        """Where a chunk begins."""
        self._timed: tuple[int, int, Any, Any] | None = None

    def ended(self, began: Any, size: int, start: int) -> None:
        """A chunk of `size` tokens behind `start` others ends here."""
        self._timed = size, start, began, self._clock.mark()

    def learn(self) -> None:
        """From the last chunk."""
        if self._timed is not None:
            size, start, began, ended = self._timed
            self._costs.observe(size, start, self._clock.seconds(began, ended))
            self._timed = None
