"""How long a body may be: known from Content-Length before any of it is read, else once too much has come.

FastAPI's own limit answers the first of these in plain text, whatever its handlers say.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specdec_server.errors import Refusal


class BodyLimit:
    """Refuses what is longer than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def receiving() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise self._refusal(f"more than {self._limit}")
            return message

        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if length.isdecimal() and int(length) > self._limit:
            await self._refusal(length).response(scope)(scope, receive, send)
        else:
            await self._app(scope, receiving, send)

    def _refusal(self, length: str) -> Refusal:
        message = f"the body is {length} bytes long; expected at most {self._limit}"
        return Refusal(413, message, code="body_too_large")
