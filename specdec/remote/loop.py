"""An event loop in a thread of its own, for callers that have none or must not share theirs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for any thread, until `stop()`."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, once it is there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def spawn(self, work: Coroutine[Any, Any, T], done: Callable[[asyncio.Task[T]], None]) -> Callable[[], None]:
        """Begin it, and call `done` at its end, in the loop's thread, whatever the end is. Returns how to cancel it."""
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(done)

        def end() -> None:  # by then it has begun
            tasks[0].cancel()

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop is closed, and everything in it over
                self._loop.call_soon_threadsafe(end)

        self._loop.call_soon_threadsafe(begin)
        return cancel

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel everything, then run this, then end the thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await last

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
