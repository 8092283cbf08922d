"""An answer as server-sent events, and an answer at once, for clients that may leave at any time."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from specdec import __version__
from specdec.types import GenerationEvent
from specdec_server.errors import Refusal, refusal_of
from specdec_server.figures import CompletionResponse
from specdec_server.logs import log
from specdec_server.pacing import smooth
from specdec_server.runs import Run
from specdec_server.schemas import ChoicesRequest, ResponseModel
from specdec_server.settings import Settings

_MARGIN = 5.0  # seconds that the library waits beyond our own grace, so that our last event comes first


class AnswerWriter(ABC):
    """Turns the events of a run into what one kind of client reads."""

    def begin(self) -> str:
        """What goes out before the first token."""
        return ""

    def ping(self, progress: str) -> ServerSentEvent:
        """What keeps a connection alive; a comment, which no client takes for data."""
        return ServerSentEvent(comment=progress, sep="\n")

    @abstractmethod
    def event(self, index: int, event: GenerationEvent) -> str:
        """Server-sent events for what one round added to the answer of this index."""

    @abstractmethod
    def end(self) -> str:
        """What follows the last round."""

    @abstractmethod
    def error(self, refusal: Refusal) -> str:
        """What ends a stream that cannot go on."""

    @abstractmethod
    def whole(self, answers: Sequence[Sequence[GenerationEvent]]) -> ResponseModel:
        """All answers at once, from all of their events."""


async def answered(
    http: HttpRequest,
    run: Run,
    starting: Coroutine[Any, Any, None],
    writer: AnswerWriter,
    settings: Settings,
    *,
    stream: bool,
) -> Response:
    """The answer in the form that was asked for. A stream whose model takes long to load is begun meanwhile, so that
    its connection stays alive; until then a refusal comes with its status."""
    if not stream:
        await starting
        return await _at_once(http, run, writer)
    started = asyncio.ensure_future(starting)
    await asyncio.wait((started,), timeout=settings.keep_alive)
    if started.done():
        started.result()
    return _EventStreamResponse(run, started, writer, settings)


class _EventStreamResponse(EventSourceResponse):
    """Streams a run. However it ends, the run is left; a generator alone could not promise that, since one that was
    never started runs no `finally`."""

    def __init__(self, run: Run, started: asyncio.Future[None], writer: AnswerWriter, settings: Settings) -> None:
        super().__init__(
            _blocks(run, started, writer, settings),
            sep="\n",
            ping=settings.keep_alive,
            ping_message_factory=lambda: writer.ping(run.progress()),
            shutdown_grace_period=settings.grace + _MARGIN,
        )
        self._run, self._started = run, started

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._started.cancel()
            await asyncio.gather(self._started, return_exceptions=True)
            await self._run.aclose()


async def _blocks(
    run: Run, started: asyncio.Future[None], writer: AnswerWriter, settings: Settings
) -> AsyncIterator[bytes]:
    """All that one event comes to goes out together. An error must not get out: it would cut the body."""
    left = len(run.endings)
    if begun := writer.begin():
        yield begun.encode()
    if not started.done():
        yield writer.ping(run.progress()).encode()
    try:
        await asyncio.shield(started)
        async with aclosing(run.events()) as events:
            async for index, event in smooth(events) if settings.pacing == "smooth" else events:
                block = writer.event(index, event)
                if event.end:
                    left -= 1
                    block += writer.end() if not left else ""
                if block:
                    yield block.encode()
    except Exception as error:  # noqa: BLE001
        refusal = refusal_of(error)
        if refusal.status >= 500 and refusal is not error:  # what only we may read
            log.error("failed", exc_info=error)
        run.facts["error"] = refusal.name
        yield writer.error(refusal).encode()


async def _at_once(http: HttpRequest, run: Run, writer: AnswerWriter) -> Response:
    """The whole answer, unless the client leaves before."""

    async def gone() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(run.all_events()), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return Response(status_code=499)
        return Response(writer.whole(working.result()).to_json(), media_type="application/json")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
        await run.aclose()


class ChunkWriter(AnswerWriter):
    """Makes the data of an answer of chat completions or completions: chunks, then [DONE].

    The figures come with the last chunk: OpenAI's own without choices, if usage was asked for; else the one that says
    why the last choice ended, without usage.
    """

    prefix: str
    """Of ids."""
    chunk: type[CompletionResponse]
    kind: str
    """The `object` of a chunk."""

    def __init__(self, run: Run, model: str, body: ChoicesRequest) -> None:
        self._run, self._left = run, len(run.endings)
        self._token_ids = bool(body.return_token_ids)
        self._usage = bool(body.stream_options and body.stream_options.include_usage)
        self._head: dict[str, Any] = {
            "id": f"{self.prefix}-{run.id}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"specdec-{__version__}",
        }

    def end(self) -> str:
        if not self._usage:
            return "data: [DONE]\n\n"
        chunk = self.chunk(object=self.kind, choices=[], **self._head, **vars(self._run.figures()))
        return f"data: {chunk.to_json()}\n\ndata: [DONE]\n\n"

    def error(self, refusal: Refusal) -> str:
        return f"data: {refusal.body.to_json()}\n\ndata: [DONE]\n\n"

    def _data(self, choice: ResponseModel, *, finished: bool = False) -> str:
        chunk = self.chunk(object=self.kind, choices=[choice], **self._head)
        self._left -= finished
        if self._usage:
            chunk.usage = None
        elif finished and not self._left:
            figures = self._run.figures()
            chunk.timings, chunk.metrics = figures.timings, figures.metrics
        return f"data: {chunk.to_json()}\n\n"
