"""Times stretches of device work without stopping the device in between."""

from __future__ import annotations

import time
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

    def mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        if not self._cuda:
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000
