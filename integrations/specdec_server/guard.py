"""Who may ask, decided from the headers alone, before any work.

A page of the web reaches this server in two ways: under its own name, rebound to our address (then Host is wrong), and
by a request to our address (then Origin, or Sec-Fetch-Site, says so). Both are refused unless they are named.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from specdec_server.errors import Refusal
from specdec_server.settings import Settings

OPEN_PATHS = ("/health", "/ready")
"""What a supervisor may ask without the key."""

Check = Callable[[Scope, Headers, Settings], Refusal | None]


class Guard:
    """Asks `check` first; what it refuses never reaches the application."""

    def __init__(self, app: ASGIApp, check: Check, settings: Settings) -> None:
        self._app, self._check, self._settings = app, check, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif refusal := self._check(scope, Headers(scope=scope), self._settings):
            await refusal.response(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def check_source(scope: Scope, headers: Headers, settings: Settings) -> Refusal | None:
    """Where the request was sent to, and from which page."""
    host = headers.get("host", "")
    if len(headers.getlist("host")) != 1 or not _known(host, settings):
        return Refusal(403, "this Host is not served here; --allow-host names further ones", code="host")
    if "content-length" in headers and "transfer-encoding" in headers:
        return Refusal(400, "Content-Length and Transfer-Encoding contradict each other", code="headers")
    origin = headers.get("origin")
    if origin is None:
        return _foreign_page() if headers.get("sec-fetch-site") == "cross-site" else None
    own = f"{scope['scheme']}://{host}"
    return None if origin == own or origin in settings.origins else _foreign_page()


def check_key(scope: Scope, headers: Headers, settings: Settings) -> Refusal | None:
    """Whether the key is right. The time that takes says nothing about the key."""
    if settings.key is None or scope["path"] in OPEN_PATHS:
        return None
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), settings.key.encode()):
        return None
    return Refusal(
        401, "the API key is missing or wrong", code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
    )


def _foreign_page() -> Refusal:
    return Refusal(403, "this Origin may not call here; --allow-origin names those that may", code="origin")


def _known(host: str, settings: Settings) -> bool:
    name = _name(host)
    return name in settings.hosts or (settings.any_address and _is_address(name))


def _name(host: str) -> str:
    """Without the port and the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
