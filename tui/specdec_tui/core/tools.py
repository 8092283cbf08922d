"""Tools that the chat runs by itself: those of MCP servers, and two that read the working folder."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdec.errors import InvalidRequest, LoadError
from specdec_tui.core import files
from specdec_tui.core.servers import Connection, ToolServer, why

if TYPE_CHECKING:
    from mcp.types import Tool as McpTool

_MOST = 40_000
"""Characters of a result that the model gets."""
_LISTED = 500
Arguments = Mapping[str, Any]


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
    """By the name that the model calls. `report` is told what a server has, or an error: why some have nothing."""

    def __init__(
        self, servers: Mapping[str, ToolServer], log: Path, report: Callable[[str | LoadError], object]
    ) -> None:
        self.tools: dict[str, Tool] = {}
        self.waiting: set[str] = set()
        """Servers that have not said yet what they have."""
        self._failed: dict[str, str] = {}
        self._connections = [Connection(name, server, log) for name, server in servers.items()]
        self._report = report

    @property
    def offers(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(tool.offer for tool in self.tools.values())

    async def serve(self) -> None:
        """Connect to every server, and stay connected until this is cancelled."""
        try:
            await self.connect()
            await asyncio.Event().wait()
        finally:
            self.tools = {name: tool for name, tool in self.tools.items() if not tool.server}
            await self.close()

    async def close(self) -> None:
        """Returns when all servers have ended."""
        await asyncio.gather(*(connection.close() for connection in self._connections))

    async def connect(self) -> None:
        """To those of which there are no tools yet, and that are not waited for."""
        have = {tool.server for tool in self.tools.values()} | self.waiting
        await asyncio.gather(*(self._connect(c) for c in self._connections if c.name not in have))

    async def call(self, name: str, arguments: str) -> str:
        """What a tool returns, or what went wrong: both are the model's to read."""
        try:
            values = json.loads(arguments or "{}")
            text = await self.tools[name].run(values)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a tool raises is its result)
            text = f"failed: {why(error)}"
        return text if len(text) <= _MOST else f"{text[:_MOST]}\n[cut: {len(text):,} characters]"

    def read_folder(self, folder: Path | None) -> None:
        """Offer what reads this folder; None ends that."""
        for tool in folder_tools(folder or Path()):
            self.tools.pop(tool.name, None)
            if folder:
                self.tools[tool.name] = tool

    async def _connect(self, to: Connection) -> None:
        self.waiting.add(to.name)
        self._failed.pop(to.name, None)
        try:
            await to.open()
            found = await to.tools()
        except Exception as error:  # noqa: BLE001  (a chat without these tools is still a chat)
            self._failed[to.name] = why(error)
            reasons = "; ".join(f"no tools of {name}: {reason}" for name, reason in self._failed.items())
            self._report(LoadError(f"{reasons} · /tools tries again"))
            return
        finally:
            self.waiting.discard(to.name)
        tools = [self._tool(to, tool) for tool in found]
        self.tools |= {tool.name: tool for tool in tools}
        self._report(f"tools of {to.name}: {', '.join(tool.name for tool in tools) or 'none'}")

    def _tool(self, of: Connection, tool: McpTool) -> Tool:
        """Under a name of its own, whatever other servers call theirs."""
        own, full = (re.sub(r"[^\w-]", "_", name)[:64] for name in (tool.name, f"{of.name}_{tool.name}"))
        return Tool(
            full if own in self.tools else own,
            tool.description or "",
            tool.input_schema,
            partial(of.call, tool.name),
            of.name,
        )


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
