"""An MCP server for tests: python tool_server.py [PORT of HTTP]."""

from __future__ import annotations

import sys
import time

from mcp.server.mcpserver import MCPServer

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


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
