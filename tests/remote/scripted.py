"""A server without a model: real HTTP on loopback, answers in the shapes that real servers stream.

`ScriptedServer(kind)` says numbered words, some a chunk, a little slower than it could. A test that wants something
else puts it into `answers`: each is taken by one request, in order.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

OWNERS = {"ours": "specdec", "vllm": "vllm", "llamacpp": "llamacpp", "unknown": "somebody"}
PACE = 0.002
Chunk = dict[str, Any]
Answer = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request, and the way to answer it."""

    server: ScriptedServer
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    async def reply(self, status: int, body: Any, **headers: str) -> None:
        """A whole answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        lines = [
            f"HTTP/1.1 {status} X",
            *(f"{k}: {v}" for k, v in headers.items()),
            f"content-length: {len(data)}",
        ]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await self.writer.drain()

    async def begin(self) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        await self.writer.drain()

    async def send(self, data: Chunk | str) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        await self.send_bytes(f"data: {text}\n\n".encode())

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def cut(self) -> None:
        """Break the connection, in the middle of whatever it is."""
        self.writer.transport.abort()


@dataclass
class ScriptedServer:
    """`with ScriptedServer("vllm") as server: ... server.url`"""

    kind: str = "vllm"
    speculates: bool = False
    models: list[Chunk] | None = None
    answers: deque[Answer] = field(default_factory=deque)
    seen: list[Exchange] = field(default_factory=list)
    left: int = 0
    """Streams whose client went away."""
    connections: int = 0
    """Open now."""
    pace: float = PACE
    word: str = "w"
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._connected, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while exchange := await self._read(reader, writer):
                await self._until_left(reader, self._answer(exchange))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections -= 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _until_left(self, reader: asyncio.StreamReader, answer: Awaitable[None]) -> None:
        """As servers do: stop when the client goes away."""
        work = asyncio.ensure_future(answer)
        watch = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.left += 1
                raise ConnectionError("the client left")
            await work
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Exchange(self, first.split()[1], headers, json.loads(body or b"{}"), writer)

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.path.endswith("/completions"):
            self.seen.append(exchange)
            answer = self.answers.popleft() if self.answers else story
            await answer(exchange)
            return
        ids = [5, 6, 7, 8, 9, 10, 11]
        counted = {"object": "response.input_tokens", "input_tokens": len(ids), "token_ids": ids}
        ours = {f"/v1/{kind}completions/input_tokens": counted for kind in ("", "chat/")} if self.kind == "ours" else {}
        pages: dict[str, Any] = ours | {
            "/v1/models": self._models(),
            "/version": {"version": "0.32.0"},
            "/tokenize": {"tokens": ids},
            "/health": {},
        }
        if exchange.path == "/metrics":
            await exchange.reply(200, self._metrics(), content_type="text/plain")
        elif exchange.path in pages:
            await exchange.reply(200, pages[exchange.path])
        else:
            await exchange.reply(404, {"detail": "Not Found"})

    def _models(self) -> Chunk:
        own = [{"id": "story", "object": "model", "owned_by": OWNERS[self.kind], "max_model_len": 512}]
        return {"object": "list", "data": own if self.models is None else self.models}

    def _metrics(self) -> bytes:
        names = {"num_drafts": 10, "num_draft_tokens": 40, "num_accepted_tokens": 30}
        lines = [
            f'vllm:spec_decode_{name}_total{{engine="{e}",model_name="a b"}} {n}.0'
            for name, n in names.items()
            for e in (0, 1)
        ]
        return "\n".join(["# HELP a page", "up 1.0", *(lines if self.speculates else [])]).encode()


async def story(exchange: Exchange) -> None:
    """Numbered words, as this kind of server streams them."""
    body, server = exchange.body, exchange.server
    await exchange.begin()
    count = body.get("max_tokens") or 12
    async for chunk in _words(exchange, count, width=3 if _speculates(exchange) else 1):
        await exchange.send(chunk)
    await exchange.send(
        {
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": count},
            **(_extras(server, count) if _speculates(exchange) else {}),
        }
    )
    await exchange.send("[DONE]")
    await exchange.end()


async def untold(exchange: Exchange) -> None:
    """Two words, and no usage."""
    await exchange.begin()
    words = {"delta": {"content": "two words"}, "text": "two words"}
    await exchange.send({"choices": [{"index": 0, "finish_reason": "stop", **words}]})
    await exchange.send("[DONE]")
    await exchange.end()


async def _words(exchange: Exchange, count: int, width: int) -> AsyncIterator[Chunk]:
    chat = exchange.path.endswith("/chat/completions")
    if chat:
        yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    for at in range(0, count, width):
        ids = list(range(at, min(at + width, count)))
        text = "".join(f" {exchange.server.word}{i}" for i in ids)
        choice: Chunk = {"index": 0, "finish_reason": "length" if ids[-1] == count - 1 else None}
        choice |= {"delta": {"content": text}} if chat else {"text": text}
        choice |= {"token_ids": ids} if exchange.body.get("return_token_ids") else {}
        yield {"choices": [choice]}
        await asyncio.sleep(exchange.server.pace)


def _speculates(exchange: Exchange) -> bool:
    return exchange.server.speculates and exchange.body.get("speculative") not in ("off", 0)


def _extras(server: ScriptedServer, count: int) -> Chunk:
    rounds = count // 3
    if server.kind == "llamacpp":
        return {"timings": {"predicted_n": count, "draft_n": 2 * rounds, "draft_n_accepted": 2 * rounds}}
    summary: Chunk = {
        "num_spec_steps": rounds,
        "num_draft_tokens": 2 * rounds,
        "num_accepted_draft_tokens": 2 * rounds,
        "acceptance_histogram": [0, 0, rounds],
        "mean_acceptance_length": 3.0,
    }
    if server.kind == "ours":
        counts = [rounds, rounds]
        drafter = {"drafter": "model", "drafted": counts, "accepted": counts, "tested": counts}
        summary |= {"drafters": [drafter], "off_reason": None}
    return {"metrics": {"queue_time_ms": 2.0, "speculative_decoding": summary}}
