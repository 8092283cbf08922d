"""One request on its way: post it, read the stream, try again while nothing was delivered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from pydantic import ValidationError

from specdec.errors import DeadlineExceeded, EngineFailed
from specdec.remote import failures
from specdec.remote.asking import Ask
from specdec.remote.chunks import Chunk
from specdec.remote.extras import recounted
from specdec.remote.reading import Reader
from specdec.remote.server import Server
from specdec.remote.sse import Events
from specdec.types import GenerationEvent

TRIES = 3
BACKOFF = 0.2
"""Seconds before the second try; twice as many before the third."""
PATIENCE = 10.0
"""Seconds that a busy server may ask for; who is asked to wait longer is told."""


class Post:
    """Posts one request. `put` gets an empty event when the server has taken it, then the events, all but the last."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        server: Server,
        asked: Ask,
        reader: Reader,
        put: Callable[[GenerationEvent], None],
    ) -> None:
        self._client, self._server, self._asked, self._reader, self._put = client, server, asked, reader, put
        self._content = json.dumps(asked.body).encode()
        self._admitted = False

    async def last(self) -> GenerationEvent:
        """The last event, once the answer is whole. Raises what went wrong."""
        limit = self._reader.request.timeout
        try:
            async with asyncio.timeout(limit):
                return await self._tries()
        except TimeoutError:
            raise DeadlineExceeded(
                f"timeout is {limit:g} s; expected more: the request had {self._reader.tokens} tokens by then"
            ) from None

    async def _tries(self) -> GenerationEvent:
        for attempt in range(TRIES):
            try:
                return await self._once()
            except failures.TryAgain as again:
                wait = BACKOFF * 2**attempt if again.after is None else again.after
                if attempt == TRIES - 1 or wait > PATIENCE:
                    raise again.error from again.__cause__
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self) -> GenerationEvent:
        async with self._response() as response:
            if response.status_code != 200:
                await response.aread()
                raise failures.of_answer(response, self._server.base, self._asked.body)
            await self._check_stream(response)
            self._admit()
            async for chunk in self._chunks(response):
                if event := self._reader.event(chunk):
                    self._put(event)
        if not self._reader.finished:
            raise self._broken(EngineFailed(
                f"{self._server.base} ended the stream before the answer, after {self._reader.tokens} tokens"
            ))  # fmt: skip
        await self._recount()
        return self._reader.last()

    async def _recount(self) -> None:
        text = self._reader.uncounted
        if text is not None and self._server.dialect.recount:
            self._reader.count(await recounted(self._client, self._server, text))

    @asynccontextmanager
    async def _response(self) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream(
                "POST", self._server.base + self._asked.path, content=self._content
            ) as response:
                yield response
        except httpx.HTTPError as error:
            failed = failures.of_transport(error, self._server.base, self._reader.tokens)
            raise (failed if isinstance(error, httpx.ReadTimeout) else self._broken(failed)) from error

    def _broken(self, failed: EngineFailed) -> Exception:
        """A broken connection is tried again while nothing was delivered."""
        return failed if self._reader.delivered else failures.TryAgain(failed)

    def _admit(self) -> None:
        if not self._admitted:
            self._admitted = True
            self._put(GenerationEvent(self._reader.request.id))

    async def _check_stream(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            return
        await response.aread()
        body = failures.body_of(response)
        if isinstance(body, dict) and "message" in body:
            raise failures.of_stream(body, self._server.base, self._asked.body)
        raise EngineFailed(
            f"{self._server.base}{self._asked.path} answers with {kind or 'no type'}, not with a stream of events"
        )

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[Chunk]:
        events = Events()
        async for received in response.aiter_bytes():
            for data in events.feed(received):
                if (
                    data != b"[DONE]"
                ):  # what follows is read all the same: a stream read to its end frees its connection
                    yield self._chunk(data)

    def _chunk(self, data: bytes) -> Chunk:
        try:
            chunk = Chunk.model_validate_json(data)
        except ValidationError:
            shown = data[:80].decode(errors="replace")
            raise EngineFailed(f"{self._server.base} sent an event that is no chunk of an answer: {shown!r}") from None
        if chunk.error:
            raise failures.of_stream(chunk.error, self._server.base, self._asked.body)
        return chunk
