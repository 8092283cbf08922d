"""Keys in the order in which they were pressed, each when the one before has done all that it does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from textual import events
from textual.app import App, ScreenStackError
from textual.message_pump import MessagePump
from textual.widgets import Input, TextArea

_PATIENCE = 2.0
"""Seconds that a key waits for the one before, which may have begun what has no end."""


class KeyQueue:
    """Textual gives a key to what has the focus as it comes. Of keys that come at once, as over a slow line, those
    behind Tab, Esc or F2 would go to what had it before, and be lost. `give` is the app's own way to give one."""

    def __init__(self, app: App[None], give: Callable[[events.Event], Awaitable[None]]) -> None:
        self._app, self._give = app, give
        self._waiting: deque[events.Key | events.Paste] = deque()
        self._under_way: asyncio.Task[None] | None = None
        self._writes = False
        """Whether what is under way writes where the focus is, and nothing more."""

    async def put(self, event: events.Key | events.Paste) -> None:
        self._waiting.append(event)
        await self._go_on()

    async def _go_on(self) -> None:
        """Letters of one field need not wait for each other."""
        while self._waiting:
            event, takes = self._waiting[0], self._app.focused or self._app.screen
            written = isinstance(event, events.Paste) or event.is_printable
            writes = written and isinstance(takes, (Input, TextArea))
            if self._under_way and not (self._under_way.done() or (writes and self._writes)):
                return
            self._waiting.popleft()
            self._writes = writes
            way = [node for node in takes.ancestors_with_self for _ in range(2)]
            await self._give(event)
            self._under_way = asyncio.create_task(self._passed(way))
            self._under_way.add_done_callback(lambda _: self._app.call_later(self._go_on))

    async def _passed(self, way: Sequence[MessagePump]) -> None:
        """When each on its way is through with it, and with what the key made it say; and what it opened is there."""
        with suppress(TimeoutError, ScreenStackError):  # the latter as the app ends
            async with asyncio.timeout(_PATIENCE):
                for pump in way:
                    await _idle(pump)
                await _idle(self._app.screen)


async def _idle(pump: MessagePump) -> None:
    """When it is through with what it was given so far."""
    through = asyncio.Event()
    if pump.call_later(through.set):
        await through.wait()
