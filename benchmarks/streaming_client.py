"""A client of the endpoint that costs next to nothing while it reads: what came is taken apart at the end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_END = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one request came to."""

    status: int
    retry_after: float
    sent: float
    first: float | None
    """When the first data came."""
    ended: float
    text: str
    finish: str | None
    done: bool
    """Whether the stream ended as it should."""
    last: dict[str, Any]
    """The chunk with usage and figures."""

    @property
    def tokens(self) -> int:
        return int(self.last["usage"]["completion_tokens"])

    @property
    def beyond_engine(self) -> float:
        """Seconds to the first data that were not the engine's own time to its first token."""
        assert self.first is not None
        timings = self.last["timings"]
        return float(self.first - self.sent - (timings["queued_ms"] + timings["prompt_ms"]) / 1000)


@dataclass(frozen=True, slots=True)
class Connection:
    """Kept for one chat after another, as clients do: what a server holds back shows only from the second on."""

    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, messages: object, **options: Any) -> Heard:
        """Stream a chat."""
        sent = time.monotonic()
        self.writer.write(_request(self.port, messages, options))
        return _heard(sent, *await _read(self.reader))


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Connection]:
    connection = Connection(port, *await asyncio.open_connection("127.0.0.1", port))
    try:
        yield connection
    finally:
        connection.writer.close()


async def ask(port: int, messages: object, *, leave_after: float | None = None, **options: Any) -> Heard | None:
    """Stream a chat on a connection of its own; None if we left before the end, after `leave_after` seconds."""
    try:
        async with connected(port) as connection, asyncio.timeout(leave_after):
            return await connection.ask(messages, **options)
    except TimeoutError:
        return None


def _request(port: int, messages: object, options: dict[str, Any]) -> bytes:
    body = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}} | options
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def _read(reader: asyncio.StreamReader) -> tuple[float | None, bytes]:
    raw, first = bytearray(await reader.readuntil(b"\r\n\r\n")), None
    if length := _LENGTH.search(raw):  # a refusal
        return None, bytes(raw + await reader.readexactly(int(length[1])))
    while not raw.endswith(_END) and (part := await reader.read(65536)):
        if first is None and b"data: " in part:
            first = time.monotonic()
        raw += part
    return first, bytes(raw)


def _heard(sent: float, first: float | None, raw: bytes) -> Heard:
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(None, 2)[1])
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    data = [line[6:] for line in _unchunked(body).decode().split("\n") if line.startswith("data: ")]
    chunks = [json.loads(text) for text in data if text != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return Heard(
        status,
        float(fields.get("retry-after", 0)),
        sent,
        first,
        time.monotonic(),
        "".join(choice["delta"].get("content") or "" for choice in choices),
        choices[-1]["finish_reason"] if choices else None,
        bool(data) and data[-1] == "[DONE]" and "error" not in chunks[-1],
        chunks[-1] if chunks else {},
    )


def _unchunked(body: bytes) -> bytes:
    return b"".join(_chunks(body))


def _chunks(body: bytes) -> Iterator[bytes]:
    while b"\r\n" in body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        yield rest[:length]
        body = rest[length + 2 :]
