"""Times stretches of device work without stopping the device in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


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
        self.mark: Callable[[], Any] = _event if self._cuda else time.perf_counter

    def seconds(self, start: Any, end: Any) -> float:
        if not self._cuda:
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
