"""From an application and a socket to a running server, and back without losing an answer.

Told to stop (Ctrl-C, SIGTERM), it takes nothing new, lets answers finish within the grace, ends the others with a last
event that says why, and returns. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import errno
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from specdec.errors import InvalidRequest
from specdec_server.protocol import PatientProtocol
from specdec_server.runs import Runs
from specdec_server.settings import Settings

_MARGIN = 2.0  # seconds for the last events to go out
_CONNECTIONS = 1000


class Server(uvicorn.Server):
    """uvicorn's, with our way of stopping."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._runs: Runs = app.state.runs
        self._grace = settings.grace
        config = uvicorn.Config(
            app, http=_patience(settings), ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=round(settings.grace + _MARGIN),
        )  # fmt: skip
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Not the parent's, which raises the signal again once everything is closed: we end by returning.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._runs.drain(self._grace)
        await super().shutdown(sockets)


def _patience(settings: Settings) -> type[PatientProtocol]:
    return type("Connection", (PatientProtocol,), {"reader_seconds": settings.reader_seconds})


def bound(host: str, port: int) -> socket.socket:
    """A socket of our own, so that a port that is taken is known before a model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # The protocol is named, for asyncio sets TCP_NODELAY only then; without it an answer's second part waits 40 ms
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidRequest(*_trouble(host, port, error)) from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise InvalidRequest(*_trouble(host, port, error)) from error
    return found


def _trouble(host: str, port: int, error: OSError) -> tuple[str, object, str]:
    match error.errno:
        case errno.EADDRINUSE:
            return "port", port, "a port that nothing listens on yet; --port 0 takes any"
        case errno.EACCES:
            return "port", port, "a port that this user may listen on, such as 8000"
        case _:
            return "host", host, f"an address of this machine ({error.strerror or error})"


def run(app: FastAPI, settings: Settings, found: socket.socket) -> None:
    """Serve at a bound socket until told to stop."""
    Server(app, settings).run(sockets=[found])
