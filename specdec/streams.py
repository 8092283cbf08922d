"""The two ends of a request's outbox: an engine puts, a thread or a task takes. Putting never blocks."""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Unpack

from specdec.engine import Deliver, Engine
from specdec.types import GenerationEvent, Request, RequestOptions

Item = GenerationEvent | BaseException


class SyncStream:
    """Iterates over the events of one request in a thread. Closing it, or dropping it, cancels the request."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.put: Deliver = self._items.put
        self.on_close: Callable[[], None] = lambda: None
        self._done = False

    def __iter__(self) -> SyncStream:
        return self

    def __next__(self) -> GenerationEvent:
        if self._done:
            raise StopIteration
        try:
            item = self._items.get()
            if isinstance(item, BaseException):
                raise item
        except BaseException:  # Ctrl-C while waiting, or the engine's failure
            self.close()
            raise
        self._done = item.end is not None
        return item

    def close(self) -> None:
        if not self._done:
            self._done = True
            self.on_close()

    def __del__(self) -> None:
        if not self._done:
            self.on_close()


class _Inbox:
    """What other threads bring to one event loop. However much it is, the loop is woken once for it: each wake costs it
    a system call, and the thread that wakes it the interpreter."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # which must not live as long as the dictionary of its inboxes
        self._items: deque[tuple[asyncio.Queue[Item], Item]] = deque()
        self._woken = False

    def put(self, stream: weakref.ref[AsyncStream], items: asyncio.Queue[Item], item: Item) -> None:
        """From any thread, into the items of a stream, unless its reader has dropped it."""
        if (alive := stream()) is None:
            return
        self._items.append((items, item))
        if self._woken:
            return
        self._woken = True
        try:
            if (loop := self._loop()) is None:
                raise RuntimeError("the loop is gone")
            loop.call_soon_threadsafe(self._empty)
        except RuntimeError:  # the loop is closed, so nobody listens any more
            self._woken = False
            self._items.clear()
            alive.on_close()

    def _empty(self) -> None:
        self._woken = False  # first, so that whatever is put from here on wakes again
        while self._items:
            items, item = self._items.popleft()
            items.put_nowait(item)


_inboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Inbox] = weakref.WeakKeyDictionary()


class AsyncStream:
    """Iterates over the events of one request in a task of the loop it was made in. Closing it, dropping it, or
    cancelling the task that waits in it cancels the request."""

    def __init__(self) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._done = False
        loop = asyncio.get_running_loop()
        inbox = _inboxes.get(loop) or _inboxes.setdefault(loop, _Inbox(loop))
        items = self._items = asyncio.Queue[Item]()
        # an engine that holds this does not keep alive a stream that its reader has dropped
        self.put: Deliver = partial(inbox.put, weakref.ref(self), items)

    def enter(self, submit: Callable[[Deliver], Callable[[], None]]) -> None:
        """Hand the request in from a thread, for a loop must not wait for it. `submit` takes the outbox and returns
        what cancels; what it raises comes out of the first `__anext__`."""

        def run() -> None:
            try:
                self.on_close = submit(self.put)
            except BaseException as error:  # noqa: BLE001  (whoever waits raises it)
                self.put(error)
            if self._done:  # it was left in the meantime
                self.on_close()

        threading.Thread(target=run, name="specdec-admission", daemon=True).start()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> GenerationEvent:
        if self._done:
            raise StopAsyncIteration
        try:
            item = await self._items.get()
            if isinstance(item, BaseException):
                raise item
        except BaseException:  # the waiting task was cancelled, or the engine failed
            await self.aclose()
            raise
        self._done = item.end is not None
        return item

    async def aclose(self) -> None:
        if not self._done:
            self._done = True
            self.on_close()

    def __del__(self) -> None:
        if not self._done:
            self.on_close()


class AdmittedStream(AsyncStream):
    """An AsyncStream whose first item is the answer, of another process or server, to the request itself."""

    def __init__(self) -> None:
        super().__init__()
        self._admitted = False

    async def admitted(self) -> None:
        """Wait until the request is taken, or raise why it is refused."""
        if not self._admitted and not self._done:
            await super().__anext__()
            self._admitted = True

    async def __anext__(self) -> GenerationEvent:
        await self.admitted()
        return await super().__anext__()


class EngineClient(Engine):
    """An engine in another process, which says whether it has taken a request."""

    def stream(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> SyncStream:
        """Returns when the other process has taken the request, or raises why it has not."""
        events = SyncStream()
        events.on_close = self.submit(Request.of(prompt, **options), events.put)
        next(events)
        return events

    def astream(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> AdmittedStream:
        events = AdmittedStream()
        events.on_close = self.submit(Request.of(prompt, **options), events.put)
        return events
