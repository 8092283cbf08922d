"""Models are loaded in a thread of their own, which ends.

Each thread that computes in parallel on a CPU has helper threads for as long as it lives (libgomp). Once all of them
together are more than the cores, none waits awake for the next piece of work any more, and waking one costs as much as
the work itself: thousands of times a second, in decoding. So the engine's worker is the only thread with helpers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises. Ctrl-C leaves it to itself."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  (the caller raises it)
            done.set_exception(error)

    thread = threading.Thread(target=run, name="specdec-loading", daemon=True)
    thread.start()
    result = done.result()
    thread.join()
    return result
