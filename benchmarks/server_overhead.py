"""What the endpoint costs: total tokens/s through it against the bare engine's, and how long the first data takes.

    python -m benchmarks.server_overhead [--streams 16] [--repeats 5]

One engine in its child process answers the same chats both ways, in turns: to tasks of this process, and through the
server, which runs in this process too, to a client in another. Each ratio is of neighbouring turns, the median counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.streaming_client import ask
from specdec.bench.prompts import built_in
from specdec.process import ProcessEngine
from specdec_server import Settings, create_app
from specdec_server.serving import Server, bound

MAX_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Turn:
    """All streams at once, one way."""

    tokens_per_second: float
    beyond_engine: float = 0.0
    """Median seconds to the first data that were not the engine's."""


def chats(count: int) -> list[list[dict[str, str]]]:
    found = [
        [{"role": m.role, "content": m.content or ""} for m in p.messages]
        for p in built_in(["story", "chat"])
    ]
    return [found[i % len(found)] for i in range(count)]


async def bare(engine: ProcessEngine, streams: int) -> Turn:
    async def one(chat: list[dict[str, str]]) -> int:
        stream = engine.astream(chat, max_tokens=MAX_TOKENS, temperature=0)
        return sum([len(event.tokens) async for event in stream])

    begun = time.monotonic()
    tokens = sum(await asyncio.gather(*(one(chat) for chat in chats(streams))))
    return Turn(tokens / (time.monotonic() - begun))


async def client(port: int, streams: int) -> Turn:
    begun = time.monotonic()
    answers = await asyncio.gather(
        *(ask(port, chat, max_tokens=MAX_TOKENS, temperature=0) for chat in chats(streams))
    )
    seconds = time.monotonic() - begun
    heard = [a for a in answers if a and a.done]
    assert len(heard) == streams, "an answer was not complete"
    return Turn(sum(a.tokens for a in heard) / seconds, statistics.median(a.beyond_engine for a in heard))


def served(port: int, streams: int) -> Turn:
    """The client, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.server_overhead",
        "--client",
        str(port),
        "--streams",
        str(streams),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Turn(*json.loads(done.stdout))


def measure(engine: ProcessEngine, port: int, streams: int, repeats: int) -> tuple[list[Turn], list[Turn]]:
    one_way: list[Turn] = []
    other: list[Turn] = []
    for number in range(repeats + 1):  # the first is for warming up
        if number % 2:
            one_way.append(asyncio.run(bare(engine, streams)))
        other.append(served(port, streams))
        if not number % 2:
            one_way.append(asyncio.run(bare(engine, streams)))
    return one_way[1:], other[1:]


def report(streams: int, plain: Sequence[Turn], through: Sequence[Turn]) -> None:
    ratios = [b.tokens_per_second / a.tokens_per_second for a, b in zip(plain, through, strict=True)]
    ratio, wait = statistics.median(ratios), statistics.median(t.beyond_engine for t in through)
    print(f"{streams} streams: bare {statistics.median(t.tokens_per_second for t in plain):.0f} tok/s, "
          f"served {statistics.median(t.tokens_per_second for t in through):.0f} tok/s, ratio {ratio:.3f} "
          f"({min(ratios):.3f} to {max(ratios):.3f}); first data {1000 * wait:.1f} ms after the engine's")  # fmt: skip


def main(streams: int, repeats: int) -> None:
    settings = Settings(log_prompts=False)
    with bound("127.0.0.1", 0) as found, ProcessEngine.load(slots=streams) as engine:
        server = Server(create_app(engine, settings), settings)
        thread = threading.Thread(target=server.run, args=([found],))
        found.listen()
        thread.start()
        port = found.getsockname()[1]
        try:
            for count in dict.fromkeys((1, streams)):
                plain, through = measure(engine, port, count, repeats)
                report(count, plain, through)
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--client", type=int, metavar="PORT", help="be the client of a server that runs")
    arguments = parser.parse_args()
    if arguments.client:
        turn = asyncio.run(client(arguments.client, arguments.streams))
        print(json.dumps([turn.tokens_per_second, turn.beyond_engine]))
    else:
        main(arguments.streams, arguments.repeats)
