"""Who may ask, and how much, decided from the headers alone, before any work.

A page of the web reaches this server in two ways: under its own name, rebound to our address (then Host is wrong), and
by a request to our address (then Origin, or Sec-Fetch-Site, says so). Both are refused unless they are named.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from specdec_server.bodies import too_large
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
        app = self._app
        if scope["type"] == "http" and (refusal := self._check(scope, Headers(scope=scope), self._settings)):
            app = refusal.response(scope)
        await app(scope, receive, send)


def check_source(scope: Scope, headers: Headers, settings: Settings) -> Refusal | None:
    """Where the request was sent to, and from which page."""
    host = headers.get("host", "")
    if host.startswith("["):  # IPv6
        name = host[1:].partition("]")[0]
    else:
        name = host.rpartition(":")[0] if host.count(":") == 1 else host
    known = name.lower() in settings.hosts or (settings.any_address and _is_address(name))
    if not known or len(headers.getlist("host")) != 1:
        return Refusal(403, "this Host is not served here; --allow-host names further ones", code="host")
    if "content-length" in headers and "transfer-encoding" in headers:
        return Refusal(400, "Content-Length and Transfer-Encoding contradict each other", code="headers")
    origin = headers.get("origin")
    if origin is None:
        foreign = headers.get("sec-fetch-site") == "cross-site"
    else:
        foreign = origin != f"{scope['scheme']}://{host}" and origin not in settings.origins
    if foreign:
        return Refusal(403, "this Origin may not call here; --allow-origin names those that may", code="origin")
    return None


def check_access(scope: Scope, headers: Headers, settings: Settings) -> Refusal | None:
    """Whether the key is right, which takes a time that says nothing about the key; and how long the body is."""
    if settings.keys and scope["path"] not in OPEN_PATHS:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if scheme.lower() == "bearer" else []
        given += [headers[name] for name in ("x-api-key", "api-key") if name in headers]
        names = [
            name
            for name, key in settings.keys.items()
            if any([hmac.compare_digest(each.encode(), key.encode()) for each in given])  # noqa: C419  (all are compared)
        ]
        if not names:
            message = "the API key is missing or wrong"
            return Refusal(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        scope["state"]["facts"]["key"] = names[0]
    length = headers.get("content-length", "")
    return too_large(length, settings.body) if length.isdecimal() and int(length) > settings.body else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
