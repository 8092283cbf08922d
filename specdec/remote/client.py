"""One request on its way: post it, read the stream, try again while nothing was delivered."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import httpx
from pydantic import ValidationError

from specdec.engine import Deliver
from specdec.errors import DeadlineExceeded, EngineFailed
from specdec.remote import errors
from specdec.remote.endpoints import token_count
from specdec.remote.requests import http_request
from specdec.remote.responses import ResponseReader
from specdec.remote.schemas import Chunk
from specdec.remote.server import ServerInfo
from specdec.remote.sse import Events
from specdec.types import GenerationEvent, Request

TRIES = 3
BACKOFF = 0.2
"""Seconds before the second try; twice as many before the third."""
END = 1.0
"""Seconds that a stream may stay open behind its last event."""
PATIENCE = 10.0
"""Seconds that a busy server may ask for; who is asked to wait longer is told."""


class HttpExchange:
    """Posts one request. `deliver` gets an empty event when the server has taken it, then the events, all but the last.

    Raises InvalidRequest for what the server's dialect has no place for.
    """

    def __init__(self, client: httpx.AsyncClient, server: ServerInfo, request: Request, deliver: Deliver) -> None:
        self._client, self._server, self._request, self._deliver = client, server, request, deliver
        self._http = http_request(request, server)
        self._content = json.dumps(self._http.body).encode()
        self._reader = ResponseReader(request, server, self._http.seed)
        self._admitted = False

    async def last(self) -> GenerationEvent:
        """The last event, once the answer is whole. Raises what went wrong."""
        try:
            async with asyncio.timeout(self._request.timeout):
                for attempt in range(TRIES):
                    try:
                        return await self._try()
                    except errors.TryAgain as again:
                        wait = BACKOFF * 2**attempt if again.after is None else again.after
                        if attempt == TRIES - 1 or wait > PATIENCE:
                            raise again.error from again.__cause__
                    await asyncio.sleep(wait)
        except TimeoutError:
            limit, tokens = self._request.timeout, self._reader.tokens
            raise DeadlineExceeded(
                f"timeout is {limit:g} s; expected more: the request had {tokens} tokens by then"
            ) from None
        raise AssertionError("the last attempt returns or raises")

    async def _try(self) -> GenerationEvent:
        server, reader = self._server, self._reader
        try:
            async with self._client.stream("POST", server.base + self._http.path, content=self._content) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code != 200 or not kind.startswith("text/event-stream"):
                    await response.aread()
                    raise errors.of_response(response, server.base, self._http.body)
                if not self._admitted:
                    self._admitted = True
                    self._deliver(GenerationEvent(self._request.id))
                await self._read(response)
        except httpx.HTTPError as error:
            broken = errors.of_transport(error, server.base, reader.received)
            stalled = isinstance(error, httpx.ReadTimeout)
            raise (broken if reader.delivered or stalled else errors.TryAgain(broken)) from error
        if not reader.finished:
            broken = EngineFailed(f"{server.base} ended the stream before the answer, after {reader.received}")
            raise broken if reader.delivered else errors.TryAgain(broken)
        if server.dialect.recount and (text := reader.uncounted) is not None:
            reader.count(await token_count(self._client, server, text))
        return reader.last()

    async def _read(self, response: httpx.Response) -> None:
        """To the stream's end, behind [DONE], since that frees its connection; not every server ends it."""
        reader, events = self._reader, Events()
        reports = self._request.progress and self._server.dialect.reports
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as left:
                async for received in response.aiter_bytes():
                    for data in events.feed(received):
                        if data == b"[DONE]":
                            left.reschedule(asyncio.get_running_loop().time() + END)
                        elif event := reader.event(self._chunk(data)):
                            self._deliver(event)
                    if events.comment and reports and not reader.delivered:
                        self._deliver(GenerationEvent(self._request.id, waiting=events.comment))
                        events.comment = ""

    def _chunk(self, data: bytes) -> Chunk:
        base = self._server.base
        try:
            chunk = Chunk.model_validate_json(data)
        except ValidationError:
            shown = data[:80].decode(errors="replace")
            raise EngineFailed(f"{base} sent an event that is no chunk of an answer: {shown!r}") from None
        if chunk.error:
            raise errors.of_stream(chunk.error, base, self._http.body)
        return chunk
