"""Lets the engine go first where it decodes on the cores that draw.

Each round waits for all of the engine's threads, so a core that draws for 20 ms holds decoding up for 20 ms. A thread
of low priority draws while the engine leaves a core idle, and gets a tenth of one when it never does.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

_NICE = 10


def give_way() -> None:
    """Lower the calling thread's priority, for good. Nothing happens where threads have none of their own."""
    if sys.platform == "linux":
        nice = max(_NICE, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)


class Starter:
    """Starts threads that have the priority of now, whatever becomes of that of the thread that asks: they and their
    processes inherit it from the thread that starts them."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="specdec-starter", daemon=True).start()

    def start(self, run: Callable[[], None], name: str) -> None:
        self._waiting.put(threading.Thread(target=run, name=name, daemon=True).start)

    def _run(self) -> None:
        while True:
            self._waiting.get()()
