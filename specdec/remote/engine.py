"""RemoteEngine: the Engine contract over HTTP.

What is wrong with a request's own values, and what the server's dialect has no place for, is raised by the call.
What only the server can know is raised by `stream` and `generate` too, which wait until the server has taken the
request; `astream` does not block its event loop, so there it comes out of the first `__anext__`. Leaving a stream
closes its connection, by which servers notice that nobody listens. A request is sent again only while nothing of its
answer was delivered.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import httpx

from specdec.engine import Deliver, to_count
from specdec.errors import EngineClosed, EngineFailed, SpecDecError
from specdec.remote import endpoints
from specdec.remote.client import HttpExchange
from specdec.remote.discover import discover
from specdec.remote.loop import LoopThread
from specdec.remote.metrics import Speculated
from specdec.remote.server import Address, ServerInfo
from specdec.remote.stats import why_nothing
from specdec.streams import EngineClient
from specdec.types import EngineInfo, EngineStats, GenerationEvent, Request, Speculation

DEFAULT_CONTEXT = 8192
"""Taken for servers that do not tell theirs."""
SILENCE = 300.0
"""Seconds without a byte after which a server counts as stalled: a long queue and a long prompt both take minutes."""
_CONNECT = 10.0
API_KEY = "SPECDEC_API_KEY"


class RemoteEngine(EngineClient):
    """A model at an OpenAI-compatible server. Stays connected until `close()`.

    `url`: http://host:8000/v1, with #model behind it where several are served. `api_key`: default SPECDEC_API_KEY; ""
    is none. `timeout`: seconds of silence. `slots`: how many requests at once a caller may count on; more are sent all
    the same.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        context: int | None = None,
        slots: int = 4,
        timeout: float = SILENCE,
    ) -> None:
        address = Address.of(url)
        self._lock = threading.RLock()
        self._closed = False
        self._loop = LoopThread(f"specdec {address.base}")
        self._client = self._loop.run(_client(os.environ.get(API_KEY) if api_key is None else api_key, timeout))
        try:
            self.server: ServerInfo = self._loop.run(discover(self._client, address))
        except BaseException:
            self.close()
            raise
        self._info = _info(self.server, context, slots)
        on = Speculation(on=True, why="pays", drafters=("server",))
        self._stats = EngineStats(speculation=on if self.server.speculates else why_nothing(self.server))

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def down(self) -> str | None:
        """Whether it was closed. What became of the server is found out by asking it."""
        return "the engine is closed" if self._closed else None

    def stats(self) -> EngineStats:
        """What this engine asked for and got; the server may have other clients."""
        return self._stats

    def speculated(self) -> Speculated | None:
        """What the server has speculated for all its clients since it began, if it publishes that."""
        self._check_open()
        return self._loop.run(endpoints.speculated(self._client, self.server))

    def tokenize(
        self, prompt: Request | str | Iterable[Any], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        """The tokens that a prompt becomes, where the server tells them."""
        self._check_open()
        return self._loop.run(endpoints.tokenize(self._client, self.server, to_count(prompt, tools)))

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        exchange = HttpExchange(self._client, self.server, request, deliver)

        def ended(task: asyncio.Task[GenerationEvent]) -> None:
            if task.cancelled():
                self._count(active=-1, cancelled=int(not self._closed))
                if self._closed:  # else the caller cancelled, and hears no more
                    deliver(EngineClosed("the engine was closed before the answer was finished"))
            elif error := task.exception():
                self._count(active=-1)
                if not isinstance(error, SpecDecError):
                    cause, text = error, f"{type(error).__name__}: {error}"
                    error = EngineFailed(f"the request failed in an unforeseen way: {text}")
                    error.__cause__ = cause
                deliver(error)
            else:
                last = task.result()
                if end := last.end:
                    counts = {name: getattr(end.stats, name) for name in ("rounds", "drafted", "accepted")}
                    used = {name: n or 0 for name, n in asdict(end.usage).items()}
                    self._count(active=-1, finished=1, **used, **counts)
                deliver(last)

        with self._lock:
            self._check_open()
            self._count(active=1)
            return self._loop.spawn(exchange.last(), ended)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._loop.stop(self._client.aclose())

    def _check_open(self) -> None:
        if self.down:
            raise EngineClosed(f"{self.down}; load a new one")

    def _count(self, **counts: int) -> None:
        with self._lock:
            self._stats = replace(self._stats, **{name: getattr(self._stats, name) + n for name, n in counts.items()})


async def _client(api_key: str | None, silence: float) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    return httpx.AsyncClient(
        headers=headers,
        timeout=httpx.Timeout(silence, connect=_CONNECT, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
    )


def _info(server: ServerInfo, context: int | None, slots: int) -> EngineInfo:
    backend = " ".join(filter(None, (server.dialect.name, server.version, "at", server.base)))
    return EngineInfo(
        target=server.model,
        draft=None,
        architecture="unknown",
        backend=backend,
        device="remote",
        dtype="unknown",
        context=context or server.context or DEFAULT_CONTEXT,
        vocab_size=0,
        slots=slots,
        drafters=("server",) if server.speculates else (),
        accept_rule="unknown",
        chat_template=True,
        parameters=0,
        draft_parameters=0,
        weight_bytes=0,
        cache_bytes=0,
        context_known=bool(context or server.context),
        speculation_optional=bool(server.dialect.switch) or server.speculates is False,
        speculation_unavailable=why_nothing(server).detail if server.speculates is False else None,
        tool_format="server",
    )
