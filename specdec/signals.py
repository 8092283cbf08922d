"""What ends a process from outside, as whoever is interrupted sees it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""SIGHUP: the terminal is gone."""


@contextmanager
def as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as Ctrl-C does, once: a terminal that closes sends two. What is ignored stays
    so, as under nohup."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def leave(_signal: int, _frame: FrameType | None) -> None:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heard:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heard:
            if signal.getsignal(number) is leave:  # else the process is about to end
                signal.signal(number, before[number])
