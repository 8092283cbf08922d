"""Tools that the chat runs by itself: those of MCP servers, and two that read the working folder."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdec.errors import InvalidRequest, SpecDecError, extra
from specdec_tui.core import files
from specdec_tui.core.engines import causes

if TYPE_CHECKING:
    from mcp import Client

_MOST = 40_000
"""Characters of a result that the model gets."""
_LISTED = 500
Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server, as Claude Desktop's configuration names it: a command, or a URL."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise InvalidRequest("mcpServers", self.command or None, "a command or a url for each server")


@dataclass(frozen=True, slots=True)
class Tool:
    """What is offered to the model, and how it is run."""

    name: str
    description: str
    schema: Mapping[str, Any]
    run: Callable[[Arguments], Awaitable[str]]
    server: str = ""

    @property
    def offer(self) -> Mapping[str, Any]:
        """In OpenAI's form."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.schema)}
        return {"type": "function", "function": function}


class Toolbox:
    """By the name that the model calls. `report` is told what a server has, or why it has nothing."""

    def __init__(self, servers: Mapping[str, ToolServer], log: Path, report: Callable[[str], object]) -> None:
        self.tools: dict[str, Tool] = {}
        self._servers, self._log, self._report = servers, log, report

    @property
    def offers(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(tool.offer for tool in self.tools.values())

    async def serve(self) -> None:
        """Connect to every server, and stay connected until this is cancelled."""
        await asyncio.gather(*(self._serve(name, server) for name, server in self._servers.items()))

    async def call(self, name: str, arguments: str) -> str:
        """What a tool returns, or what went wrong: both are the model's to read."""
        try:
            values = json.loads(arguments or "{}")
            text = await self.tools[name].run(values)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a tool raises is its result)
            text = f"failed: {_why(error)}"
        return text if len(text) <= _MOST else f"{text[:_MOST]}\n[cut: {len(text):,} characters]"

    def read_folder(self, folder: Path | None) -> None:
        """Offer what reads this folder; None ends that."""
        for tool in folder_tools(folder or Path()):
            self.tools.pop(tool.name, None)
            if folder:
                self.tools[tool.name] = tool

    async def _serve(self, name: str, server: ToolServer) -> None:
        try:
            with extra("mcp", "a tool server"):
                from mcp import Client
            path = self._log if self._log.parent.is_dir() else os.devnull
            with open(path, "a") as log:  # noqa: ASYNC230  (it is not waited for)
                async with Client(_transport(server, log)) as client:
                    found = await _tools_of(client, name)
                    self.tools |= {tool.name: tool for tool in found}
                    self._report(f"tools of {name}: {', '.join(tool.name for tool in found) or 'none'}")
                    await asyncio.Event().wait()
        except Exception as error:  # noqa: BLE001  (a chat without these tools is still a chat)
            self._report(f"no tools of {name}: {_why(error)}")
        finally:
            self.tools = {n: tool for n, tool in self.tools.items() if tool.server != name}


def folder_tools(folder: Path) -> tuple[Tool, Tool]:
    """Read-only, and nothing outside the folder."""

    def inside(arguments: Arguments) -> Path:
        path = (folder / str(arguments.get("path", "."))).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InvalidRequest("path", str(arguments["path"]), "a path inside the working folder")
        return path

    def list_files(arguments: Arguments) -> str:
        found: list[str] = []
        for file in files.walk(inside(arguments)):
            if len(found) == _LISTED:
                return "\n".join([*found, "and more"])
            found.append(file.relative_to(folder.resolve()).as_posix())
        return "\n".join(found) or "no files"

    def read_file(arguments: Arguments) -> str:
        return files.read(inside(arguments))

    path = {"path": {"type": "string", "description": "relative to the working folder"}}
    may, must = ({"type": "object", "properties": path, "required": names} for names in ([], ["path"]))
    return (
        Tool("list_files", "Names of the files below a folder.", may, _threaded(list_files)),
        Tool("read_file", "The text of a file.", must, _threaded(read_file)),
    )


def _threaded(function: Callable[[Arguments], str]) -> Callable[[Arguments], Awaitable[str]]:
    return lambda arguments: asyncio.to_thread(function, arguments)


def _transport(server: ToolServer, log: Any) -> str | AbstractAsyncContextManager[Any]:
    from mcp import StdioServerParameters, stdio_client

    if server.url:
        return server.url
    environment = {**os.environ, **server.env}
    return stdio_client(StdioServerParameters(command=server.command, args=list(server.args), env=environment), log)


async def _tools_of(client: Client, server: str) -> list[Tool]:
    """All pages of its list."""
    found: list[Tool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            name = re.sub(r"[^\w-]", "_", tool.name)[:64]
            found.append(Tool(name, tool.description or "", tool.input_schema, _caller(client, tool.name), server))
        cursor = page.next_cursor
        if not cursor:
            return found


def _caller(client: Client, name: str) -> Callable[[Arguments], Awaitable[str]]:
    async def run(arguments: Arguments) -> str:
        result = await client.call_tool(name, dict(arguments))
        parts = [getattr(block, "text", None) or f"[{block.type}]" for block in result.content]
        return ("failed: " if result.is_error else "") + "\n".join(parts)

    return run


def _why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return causes(error) if isinstance(error, (SpecDecError, OSError)) else str(error) or type(error).__name__
