"""One line in the log for every request, whatever became of it: who, what, how long, how many tokens.

Lines are `key=value`, values quoted as JSON where they need it, so that nothing a client sends can forge a line. What
users wrote is not in them unless the operator asks for it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specdec.types import GenerationEvent
from specdec_server.common.figures import Tally
from specdec_server.metrics import ServerMetrics

log = logging.getLogger("specdec.server")
Level = Literal["debug", "info", "warning", "error"]
_PLAIN = re.compile(r"[\w.:/+-]+", re.ASCII)


def line(event: str, facts: Mapping[str, object]) -> str:
    """event key=value ..."""
    return " ".join([event, *(f"{name}={_shown(value)}" for name, value in facts.items())])


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class LineFormatter(logging.Formatter):
    """time level message. An error is named with its place; its whole trace, which may show texts, at `debug` alone."""

    def __init__(self, *, traces: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        if self._traces or not record.exc_info:
            return super().format(record)
        error, record.exc_info = record.exc_info[1], None
        return f"{super().format(record).strip()} {line('error', _place(error))}"


def _place(error: BaseException | None) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__) if error else []
    last = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    return {"kind": type(error).__name__, "at": last}


def log_to_stderr(level: Level) -> None:
    """For the process: our lines and uvicorn's, and no one else's below warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(traces=level == "debug"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(level.upper())


class Journal:
    """Middleware: gives each request its id, and writes its line when the answer has ended."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        facts: dict[str, object] = {"id": uuid.uuid4().hex, "method": scope["method"], "path": scope["path"]}
        scope.setdefault("state", {})["facts"] = facts

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts["status"] = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = str(facts["id"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            facts["seconds"] = time.monotonic() - begun
            # a label for what was asked must not be the client's to choose
            self._close(facts, getattr(scope.get("route"), "path", "other"))

    def _close(self, facts: MutableMapping[str, Any], path: str) -> None:
        status = facts.setdefault("status", 499)  # nobody was there any more to be answered
        self._metrics.request(path, status)
        level = logging.ERROR if status == 500 else logging.INFO
        log.log(level, line("request", facts))


def tally_facts(tallies: list[Tally]) -> dict[str, object]:
    """What the answers of one request come to."""
    lasts = [t.last for t in tallies if t.last]
    facts: dict[str, object] = {"answers": len(tallies), "finished": len(lasts)}
    return facts | _last_facts(lasts[0]) if len(lasts) == 1 else facts


def _last_facts(last: GenerationEvent) -> dict[str, object]:
    assert last.usage and last.timing and last.stats
    return {
        "finish": last.finish_reason,
        "prompt_tokens": last.usage.prompt_tokens,
        "cached_tokens": last.usage.cached_tokens,
        "completion_tokens": last.usage.completion_tokens,
        "queued": last.timing.queued,
        "ttft": last.timing.ttft,
        "tokens_per_second": last.timing.tokens_per_second(last.usage.completion_tokens),
        "acceptance_length": last.stats.acceptance_length,
    }
