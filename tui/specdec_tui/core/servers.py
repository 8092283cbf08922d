"""MCP servers: connected to when the chat begins, and again when one that has ended is called."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from specdec.errors import InvalidRequest, LoadError, SpecDecError, extra
from specdec_tui.core.engines import causes

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import Tool

_PATIENCE = 5.0
"""Seconds for a sign of life; a server that is busy may take longer, and is left alone."""
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
Transport = Literal["stdio", "http", "streamable-http", "sse"]


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server, as the configurations of Claude Desktop and Claude Code name it: a command, or a URL with headers.
    `${NAME}` and `${NAME:-default}` stand for variables of the environment."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str = ""
    """How it is spoken to; by itself as far as command or url say so."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise InvalidRequest("mcpServers", self.command or None, "a command or a url for each server")
        if self.type not in ("", *get_args(Transport)):
            raise InvalidRequest("mcpServers.type", self.type, "one of " + ", ".join(get_args(Transport)))


class Connection:
    """To one server. `log` gets what it writes to its standard error."""

    def __init__(self, name: str, server: ToolServer, log: Path) -> None:
        self.name, self._server, self._log = name, server, log
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._checking = asyncio.Lock()

    async def open(self) -> None:
        """Anew, whatever there was. Raises what is in the way."""
        await self.close()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(ready))
        self._client = await ready

    async def close(self) -> None:
        """Returns when the server has ended. Cancelled twice, it would be left running, and waited for without end."""
        self._client = None
        if self._keeper:
            if not self._keeper.cancelling():
                self._keeper.cancel()
            await asyncio.wait({self._keeper})

    async def tools(self) -> list[Tool]:
        """All pages of its list."""
        assert self._client
        page = await self._client.list_tools()
        found = list(page.tools)
        while page.next_cursor:
            page = await self._client.list_tools(cursor=page.next_cursor)
            found += page.tools
        return found

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """What it returns. Never twice: who knows what the first time has done."""
        client = await self._alive()
        try:
            result = await client.call_tool(tool, dict(arguments))
        except Exception as error:
            if _ended(error):
                raise LoadError(f"{self.name} ended during this call; the next call starts it again") from None
            raise
        parts = [getattr(block, "text", None) or f"[{block.type}]" for block in result.content]
        return ("failed: " if result.is_error else "") + "\n".join(parts)

    async def _alive(self) -> Client:
        """A server that has ended, or has forgotten this connection, is connected to again."""
        async with self._checking:
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PATIENCE):
                        assert self._client
                        await self._client.list_tools(cache_mode="bypass")
            except Exception:  # noqa: BLE001  (each way of being gone has its own)
                await self.open()
            assert self._client
            return self._client

    async def _keep(self, ready: asyncio.Future[Client]) -> None:
        """From first to last in one task, as the package wants it."""
        try:
            with extra("mcp", "a tool server"):
                from mcp import Client
            path = self._log if self._log.parent.is_dir() else os.devnull
            with open(path, "a") as log:  # noqa: ASYNC230  (it is not waited for)
                async with Client(_transport(self._server, log)) as client:
                    ready.set_result(client)
                    await asyncio.Event().wait()
        except Exception as error:  # noqa: BLE001  (told to whoever opens it; later, the next call finds it gone)
            if not ready.done():
                early = LoadError(f"it ended before it said what it has; what it wrote is in {self._log}")
                ready.set_exception(early if _ended(error) else error)


def _ended(error: BaseException) -> bool:
    """Whether the server was gone."""
    from mcp import MCPError
    from mcp.types import CONNECTION_CLOSED

    first = _first(error)
    return isinstance(first, MCPError) and first.code == CONNECTION_CLOSED


def why(error: BaseException) -> str:
    """In words, whatever went wrong between two processes."""
    first = _first(error)
    return causes(first) if isinstance(first, (SpecDecError, OSError)) else str(first) or type(first).__name__


def _first(error: BaseException) -> BaseException:
    """Out of the groups that tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _transport(server: ToolServer, log: Any) -> AbstractAsyncContextManager[Any]:
    from mcp import StdioServerParameters, stdio_client

    headers = {name: _expanded(value) for name, value in server.headers.items()}
    if server.type == "sse":
        from mcp.client.sse import sse_client

        return sse_client(_expanded(server.url), headers)
    if server.url:
        return _http(_expanded(server.url), headers)
    environment = {**os.environ, **{name: _expanded(value) for name, value in server.env.items()}}
    arguments = [_expanded(argument) for argument in server.args]
    return stdio_client(StdioServerParameters(command=_expanded(server.command), args=arguments, env=environment), log)


@asynccontextmanager
async def _http(url: str, headers: dict[str, str]) -> AsyncGenerator[Any]:
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async with create_mcp_http_client(headers) as client, streamable_http_client(url, http_client=client) as streams:
        yield streams


def _expanded(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        name, default = found.groups()
        known = os.environ.get(name, default)
        if known is None:
            raise InvalidRequest("mcpServers", found[0], "a variable of the environment that is set")
        return known

    return _VARIABLE.sub(value, text)
