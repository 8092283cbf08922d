"""An MCP server for tests: python tool_server.py [PORT of HTTP]."""

from __future__ import annotations

import os
import sys
import time

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("fox")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="wait.long")
def wait() -> str:
    """Take a long time."""
    time.sleep(60)
    return "done"


@server.tool()
def break_it() -> str:
    """Go wrong."""
    raise ValueError("broken on purpose")


@server.tool()
def end(now: bool = False) -> int:
    """End during this call, or tell which process to end."""
    if now:
        os._exit(1)
    return os.getpid()


@server.tool()
def header(name: str, context: Context) -> str:
    """A header of this very request."""
    return str((context.headers or {}).get(name))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
