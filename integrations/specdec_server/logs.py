"""One line in the log for every request, whatever became of it: who, what, how long, how many tokens.

Lines are `key=value`, values quoted as JSON where they need it, so that nothing a client sends can forge a line. What
users wrote is not in them unless the operator asks for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specdec_server.errors import shutting_down
from specdec_server.metrics import ServerMetrics

log = logging.getLogger("specdec.server")
Level = Literal["debug", "info", "warning", "error"]
_PLAIN = re.compile(r"[\w.:/+-]+", re.ASCII)


def line(event: str, facts: Mapping[str, object]) -> str:
    """event key=value ...; what is None is not known, and left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in known.items()}
    shown = (f"{name}={text if _PLAIN.fullmatch(text) else json.dumps(text)}" for name, text in texts.items())
    return " ".join((event, *shown))


class LineFormatter(logging.Formatter):
    """time level message. An error is named with its place; its whole trace, which may show texts, at `debug` alone."""

    def __init__(self, *, traces: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        if self._traces or not record.exc_info:
            return super().format(record)
        error, record.exc_info = record.exc_info[1], None
        frames = traceback.extract_tb(error.__traceback__) if error else []
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        return f"{super().format(record).strip()} {line('error', {'kind': type(error).__name__, 'at': place})}"


def log_to_stderr(level: Level) -> None:
    """For the process: our lines and uvicorn's, and no one else's below warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(traces=level == "debug"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(level.upper())


class AccessLog:
    """Middleware: gives each request its id, and writes its line when the answer has ended."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        facts: dict[str, Any] = {"id": uuid.uuid4().hex, "method": scope["method"], "path": scope["path"]}
        scope.setdefault("state", {})["facts"] = facts

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = facts["id"]
                if "ignored" in facts:
                    headers["x-specdec-ignored"] = facts["ignored"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:  # the server ends, and waits no longer for this one
            if "status" not in facts:
                await shutting_down().response(scope)(scope, receive, sending)
        finally:
            facts["seconds"] = time.monotonic() - begun
            status = facts.setdefault("status", 499)  # nobody was there any more to be answered
            # a label for what was asked must not be the client's to choose
            self._metrics.requests.labels(getattr(scope.get("route"), "path", "other"), status).inc()
            log.log(logging.ERROR if status == 500 else logging.INFO, line("request", facts))
