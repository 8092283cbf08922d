"""Several streams of events as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from specdec.engine import AsyncEventStream
from specdec.types import GenerationEvent

Numbered = tuple[int, GenerationEvent]


async def merged(streams: Sequence[AsyncEventStream]) -> AsyncGenerator[Numbered]:
    """Each event as it comes, with the number of its stream. An error in one ends all."""
    if len(streams) == 1:
        async for event in streams[0]:
            yield 0, event
        return
    inbox = asyncio.Queue[Numbered | BaseException | None](maxsize=1)  # a slow reader slows the taking

    async def pump(number: int, stream: AsyncEventStream) -> None:
        try:
            async for event in stream:
                await inbox.put((number, event))
        except Exception as error:  # noqa: BLE001  (whoever reads the inbox raises it)
            await inbox.put(error)
        else:
            await inbox.put(None)

    tasks = [asyncio.create_task(pump(number, stream)) for number, stream in enumerate(streams)]
    try:
        left = len(tasks)
        while left:
            item = await inbox.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
