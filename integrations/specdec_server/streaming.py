"""An answer as server-sent events, and an answer at once, for clients that may leave at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Protocol, TypeVar

from fastapi import Request as HttpRequest
from fastapi import Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from specdec.types import GenerationEvent
from specdec_server.common.base import Sent, as_json
from specdec_server.errors import Refusal, refusal_of
from specdec_server.journal import log
from specdec_server.pacing import smooth
from specdec_server.runs import Run
from specdec_server.settings import Settings

T = TypeVar("T")
_MARGIN = 5.0  # seconds that the library waits beyond our own grace, so that our last event comes first


class Writer(Protocol):
    """Turns events into what one kind of client reads."""

    def on(self, index: int, event: GenerationEvent) -> Iterator[str]: ...

    def end(self) -> Iterator[str]: ...

    def failed(self, refusal: Refusal) -> Iterator[str]: ...


class EventStream(EventSourceResponse):
    """Streams a run. However it ends, the run is left; a generator alone could not promise that, since one that was
    never started runs no `finally`."""

    def __init__(self, run: Run, writer: Writer, settings: Settings) -> None:
        super().__init__(
            _blocks(run, writer, settings), sep="\n", ping=settings.keep_alive, ping_message_factory=lambda: _sign(run),
            shutdown_grace_period=settings.grace + _MARGIN,
        )  # fmt: skip
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._run.aclose()


def _sign(run: Run) -> ServerSentEvent:
    """A comment, which no client takes for data."""
    return ServerSentEvent(comment=run.progress(), sep="\n")


async def _blocks(run: Run, writer: Writer, settings: Settings) -> AsyncIterator[bytes]:
    """All that one event comes to goes out together. An error must not get out: it would cut the body."""
    try:
        async with aclosing(run.events()) as events:
            async for index, event in smooth(events) if settings.pacing == "smooth" else events:
                if block := "".join(writer.on(index, event)):
                    yield block.encode()
        yield "".join(writer.end()).encode()
    except Exception as error:  # noqa: BLE001
        refusal = noted(error)
        run.facts["error"] = refusal.code or refusal.kind
        yield "".join(writer.failed(refusal)).encode()


def noted(error: Exception) -> Refusal:
    """What the client reads of an error; what only we may read goes to the log."""
    refusal = refusal_of(error)
    if refusal.status >= 500 and not isinstance(error, Refusal):
        log.error("failed", exc_info=error)
    return refusal


async def at_once(http: HttpRequest, run: Run, make: Callable[[list[list[GenerationEvent]]], Sent]) -> Response:
    """The whole answer, unless the client leaves before."""
    try:
        answers = await _unless_gone(http, _collected(run))
        if answers is None:
            return Response(status_code=499)
        return Response(as_json(make(answers)), media_type="application/json")
    finally:
        await run.aclose()


async def _collected(run: Run) -> list[list[GenerationEvent]]:
    answers: list[list[GenerationEvent]] = [[] for _ in run.tallies]
    async with aclosing(run.events()) as events:
        async for index, event in events:
            answers[index].append(event)
    return answers


async def _unless_gone(http: HttpRequest, work: Awaitable[T]) -> T | None:
    """What `work` comes to, or None if the client left; then the work was cancelled."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(http))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
