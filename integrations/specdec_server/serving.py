"""From an application and a socket to a running server, and back without losing an answer.

Told to stop (Ctrl-C, SIGTERM), it takes nothing new, lets answers finish within the grace, ends the others with a last
event that says why, and returns. A second Ctrl-C ends all of them now.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from specdec.errors import InvalidRequest
from specdec_server.pool import ModelPool
from specdec_server.settings import Settings

REQUEST_SECONDS = 20.0
_MARGIN = 2.0  # seconds for the last events to go out
_HURRY = 0.5  # the same once it was told twice
_CONNECTIONS = 1000
_SEND_BUFFER = 2**16


class PatientProtocol(H11Protocol):
    """A connection: uvicorn's, and its patience with clients that are slow on purpose or have stopped reading.

    A client has `REQUEST_SECONDS` to send a request, from its first byte to its last. Once the system's and our own
    buffer are full (some 1,000 tokens without logprobs), it has `reader_seconds` to read most of that; then the
    connection is cut, and the request's slot is freed as for any client that left. So what a slow reader can hold is
    bounded.
    """

    reader_seconds = 20.0
    _sending: asyncio.TimerHandle | None = None
    """Until when the client has to send its request."""
    _reading: asyncio.TimerHandle | None = None
    """Until when it has to read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.more_body:
            self._expect_request()
        elif self._sending:
            self._sending.cancel()
            self._sending = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading:
            self._reading.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._sending, self._reading):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        if self._sending is None:
            self._sending = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)


class SpecDecServer(uvicorn.Server):
    """uvicorn's, with our way of stopping."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._pool: ModelPool = app.state.pool
        self._grace = settings.grace
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            app,
            http=type("Connection", (PatientProtocol,), {"reader_seconds": settings.reader_seconds}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=round(settings.grace + _MARGIN),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Not the parent's, which raises the signal again once everything is closed: we end by returning.
        if self.should_exit and self._loop:
            self._loop.call_soon_threadsafe(self._hurry)
        self.should_exit = True

    def _hurry(self) -> None:
        """Every answer gets its last event now. Who does not take it, or waits for something else, is left."""
        self._pool.drain(0.0)
        asyncio.get_running_loop().call_later(_HURRY, setattr, self, "force_exit", True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._pool.drain(self._grace)
        await super().shutdown(sockets)


def bound(host: str, port: int) -> socket.socket:
    """A socket of our own, so that a port that is taken is known before a model is loaded."""
    found: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # The protocol is named, for asyncio sets TCP_NODELAY only then; without it an answer's second part waits 40 ms
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # of each connection; else it grows to 4 MB
        found.bind(address)
    except OSError as error:
        if found:
            found.close()
        wrong = {
            errno.EADDRINUSE: ("port", port, "a port that nothing listens on yet; --port 0 takes any"),
            errno.EACCES: ("port", port, "a port that this user may listen on, such as 8000"),
        }
        address_expected = ("host", host, f"an address of this machine ({error.strerror or error})")
        raise InvalidRequest(*wrong.get(error.errno or 0, address_expected)) from error
    return found


def run(app: FastAPI, settings: Settings, found: socket.socket) -> None:
    """Serve at a bound socket until told to stop."""
    SpecDecServer(app, settings).run(sockets=[found])
