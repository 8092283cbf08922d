"""What RemoteEngine costs beside a bare httpx client: latency per event, and tokens/s of 16 streams.

    python -m benchmarks.remote [--json]

A scripted server in a process of its own writes into each event when it was sent (one clock for all processes), at
the pace of a fast model or as fast as it can. Both clients read the same streams in turn, and the ratio is taken
within each repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import repeat
from statistics import median

import httpx

from specdec.remote import RemoteEngine
from tests.remote.scripted import Exchange, ScriptedServer

STREAMS, EVENTS, REPEATS = 16, 300, 7
PACES = {"100 events/s a stream": 0.01, "as fast as it can": 0.0}
Client = Callable[[], Awaitable[list[float]]]
"""Reads one stream, and says how long each event was on its way."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One pace. Latencies are medians over all events, in ms."""

    pace: str
    bare_ms: float
    ours_ms: float
    added_ms: float
    bare_tokens_per_second: float
    ours_tokens_per_second: float
    ratio: float


def serve(pace: float) -> None:
    """The server's process: prints its URL, ends with its standard input."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for at in range(EVENTS):
            delta = {"content": f" {time.monotonic_ns()}"}
            finish = "length" if at == EVENTS - 1 else None
            await exchange.send({"choices": [{"index": 0, "delta": delta, "token_ids": [at], "finish_reason": finish}]})
            await asyncio.sleep(pace)
        await exchange.send({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": EVENTS}})
        await exchange.send("[DONE]")
        await exchange.end()

    with ScriptedServer() as server:
        server.answers.extend(repeat(answer, STREAMS * REPEATS * 4))
        print(server.url, flush=True)
        sys.stdin.read()


def bare(client: httpx.AsyncClient, url: str) -> Client:
    """What a program without SpecDec would write."""
    body = {
        "model": "story",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "return_token_ids": True,
    }

    async def read() -> list[float]:
        waits = []
        async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    waits += [_age(c["delta"]["content"]) for c in json.loads(line[6:])["choices"]]
        return waits

    return read


def ours(engine: RemoteEngine) -> Client:
    async def read() -> list[float]:
        events = engine.astream([{"role": "user", "content": "Hi"}], max_tokens=EVENTS)
        return [_age(event.text) async for event in events if event.text]

    return read


def _age(text: str) -> float:
    """Milliseconds; what stuck together is as old as its oldest part."""
    return (time.monotonic_ns() - int(text.split(maxsplit=1)[0])) / 1e6


async def _together(client: Client) -> tuple[list[float], float]:
    start = time.perf_counter()
    waits = await asyncio.gather(*(client() for _ in range(STREAMS)))
    return [w for one in waits for w in one], STREAMS * EVENTS / (time.perf_counter() - start)


async def measure(pace: str, url: str) -> Figures:
    waits: dict[str, list[float]] = {"bare": [], "ours": []}
    speeds: dict[str, list[float]] = {"bare": [], "ours": []}
    limits = httpx.Limits(max_connections=None)
    with RemoteEngine(url) as engine:
        async with httpx.AsyncClient(timeout=60, limits=limits) as http:
            clients = {"bare": bare(http, url), "ours": ours(engine)}
            for client in clients.values():
                await _together(client)  # connections are made, code is warm
            for turn in range(REPEATS):
                for name in sorted(clients, reverse=bool(turn % 2)):
                    found, speed = await _together(clients[name])
                    waits[name] += found
                    speeds[name].append(speed)
    ratio = median(o / b for o, b in zip(speeds["ours"], speeds["bare"], strict=True))
    b, o = median(waits["bare"]), median(waits["ours"])
    return Figures(pace, b, o, o - b, median(speeds["bare"]), median(speeds["ours"]), ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    for name, pace in PACES.items():
        command = [sys.executable, "-m", "benchmarks.remote", "--serve", str(pace)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin
            assert server.stdout
            found = asyncio.run(measure(name, server.stdout.readline().strip()))
            server.stdin.close()
        print(json.dumps(asdict(found)) if options.json else _shown(found), flush=True)


def _shown(f: Figures) -> str:
    speeds = f"{f.ours_tokens_per_second:.0f} and {f.bare_tokens_per_second:.0f}"
    return (
        f"{f.pace}: added latency {f.added_ms:.2f} ms an event (bare {f.bare_ms:.2f}, ours {f.ours_ms:.2f}); "
        f"{f.ratio:.3f} x the bare client's tokens/s ({speeds})"
    )


if __name__ == "__main__":
    main()
