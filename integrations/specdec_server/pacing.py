"""Smooth pacing: a round's tokens one after another, spread over the time until the next round.

Rounds that accept much come as bursts; read aloud or typed out, an even flow is nicer. It costs up to one round of
delay, never more: once the next round is there, what is left of the last goes out at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace

from specdec.types import ContentDelta, GenerationEvent
from specdec_server.merging import Numbered

_SMOOTHING = 0.3  # the weight of the newest round
_LONGEST = 0.5  # seconds that one round's tokens are ever spread over


async def smooth(
    events: AsyncGenerator[Numbered], clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[Numbered]:
    """The same text in smaller events."""
    coming = asyncio.ensure_future(anext(events, None))
    last, between = clock(), 0.0
    try:
        while (item := await coming) is not None:
            now = clock()
            between += _SMOOTHING * (now - last - between)
            last = now
            coming = asyncio.ensure_future(anext(events, None))
            pieces = list(pieces_of(item[1]))
            pause = min(between, _LONGEST) / len(pieces)
            for number, piece in enumerate(pieces):
                if number:
                    await _pause(coming, pause)
                yield item[0], piece
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _pause(coming: asyncio.Future[Numbered | None], seconds: float) -> None:
    if not coming.done():
        await asyncio.wait((coming,), timeout=seconds)


def pieces_of(event: GenerationEvent) -> Iterator[GenerationEvent]:
    """One event a token, where the text is plain content, token by token; else the event itself."""
    if event.deltas != (ContentDelta("".join(t.text for t in event.tokens)),):
        yield event
        return
    *before, last = event.tokens
    for token in before:
        yield GenerationEvent(event.request_id, token.text, (token,), deltas=(ContentDelta(token.text),))
    yield replace(event, text=last.text, tokens=(last,), deltas=(ContentDelta(last.text),))
