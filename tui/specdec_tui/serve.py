"""The same chat in a browser: every page that is opened runs a chat of its own.

Whoever reaches the port can use the chat, so it is bound to this machine unless told otherwise, and only pages that it
served itself may talk to it: any other page in the same browser could reach the port too.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ChatServer(Server):
    """textual-serve, closed to strange hosts and origins, and quiet."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        ours = urlsplit(self.public_url).netloc

        @web.middleware
        async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
            origin = request.headers.get("Origin")
            if request.host != ours or (origin and urlsplit(origin).netloc != ours):
                raise web.HTTPForbidden(text=f"open {self.public_url}")
            return await handler(request)

        app.middlewares.append(guard)
        return app

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002  (aiohttp's)
        self.console.print(f"specdec chat on {self.public_url} (Ctrl+C ends it)", highlight=False)


def serve(arguments: Sequence[str], host: str, port: int) -> None:
    """Serve `specdec chat` with these arguments until Ctrl+C."""
    command = shlex.join([sys.executable, "-m", "specdec", "chat", *arguments])
    ChatServer(command, host=host, port=port, title="SpecDec").serve()
