"""What the endpoint costs: total tokens/s through it against the bare engine's, and how long the first data takes.

    python -m benchmarks.server_overhead [--streams 16] [--repeats 5] [--size 8b]

One engine in its child process answers the same chats both ways, in turns: to tasks of this process, and through the
server, which runs in this process too, to a client in another. Each stream asks `CHATS` chats, one after another on one
connection; all streams begin at once. Each ratio is of neighbouring turns, the median counts. The first data is timed
from the moment when the engine's first event reached this process, and, with all that a request costs before, from
when it was sent.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.streaming_client import Heard, connected
from specdec.bench.prompts import built_in
from specdec.engine import Deliver
from specdec.process import ProcessEngine
from specdec.types import GenerationEvent, Request
from specdec_server import Settings, create_app
from specdec_server.serving import SpecDecServer, bound

MAX_TOKENS = 128
CHATS = 4

Chat = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Turn:
    """All streams at once, one way."""

    tokens_per_second: float
    beyond_engine: float = 0.0
    """Median seconds from the request to its first data that were not the engine's."""
    firsts: tuple[float, ...] = ()
    """When each answer's first data came."""
    after_event: float = 0.0
    """Median seconds from the engine's first event to the first data."""


class Noting(ProcessEngine):
    """Notes when the first tokens of each answer come out of the pipe, before any loop has to turn for them."""

    firsts: list[float]

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        waiting = True

        def noting(item: GenerationEvent | BaseException) -> None:
            nonlocal waiting
            if waiting and isinstance(item, GenerationEvent) and item.tokens:
                waiting = False
                self.firsts.append(time.monotonic())
            deliver(item)

        return super().submit(request, noting)


def chats(stream: int) -> list[Chat]:
    """What one stream asks."""
    found = built_in(["story", "chat"])
    asked = [found[(stream + CHATS * i) % len(found)] for i in range(CHATS)]
    return [[{"role": m.role, "content": m.content or ""} for m in p.messages] for p in asked]


async def bare(engine: ProcessEngine, streams: int) -> Turn:
    async def one(stream: int) -> int:
        tokens = 0
        for chat in chats(stream):
            async for event in engine.astream(chat, max_tokens=MAX_TOKENS, temperature=0):
                tokens += len(event.tokens)
        return tokens

    begun = time.monotonic()
    tokens = sum(await asyncio.gather(*(one(stream) for stream in range(streams))))
    return Turn(tokens / (time.monotonic() - begun))


async def client(port: int, streams: int) -> Turn:
    async def one(stream: int) -> list[Heard]:
        async with connected(port) as connection:
            return [await connection.ask(chat, max_tokens=MAX_TOKENS, temperature=0) for chat in chats(stream)]

    begun = time.monotonic()
    answers = await asyncio.gather(*(one(stream) for stream in range(streams)))
    seconds = time.monotonic() - begun
    heard = [a for several in answers for a in several if a.done]
    assert len(heard) == streams * CHATS, "an answer was not complete"
    return Turn(
        sum(a.tokens for a in heard) / seconds,
        statistics.median(a.beyond_engine for a in heard),
        tuple(sorted(a.first for a in heard if a.first)),
    )


def served(engine: Noting, port: int, streams: int) -> Turn:
    """The client, in a process of its own; the clock is the system's."""
    engine.firsts = []
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
    turn = Turn(*json.loads(done.stdout))
    late = [data - event for event, data in zip(sorted(engine.firsts), turn.firsts, strict=True)]
    return replace(turn, after_event=statistics.median(late))


def measure(engine: Noting, port: int, streams: int, repeats: int) -> tuple[list[Turn], list[Turn]]:
    one_way: list[Turn] = []
    other: list[Turn] = []
    for number in range(repeats + 1):  # the first is for warming up
        if number % 2:
            one_way.append(asyncio.run(bare(engine, streams)))
        other.append(served(engine, port, streams))
        if not number % 2:
            one_way.append(asyncio.run(bare(engine, streams)))
    return one_way[1:], other[1:]


def report(streams: int, plain: Sequence[Turn], through: Sequence[Turn]) -> None:
    ratios = [b.tokens_per_second / a.tokens_per_second for a, b in zip(plain, through, strict=True)]
    ratio, wait = statistics.median(ratios), statistics.median(t.after_event for t in through)
    whole = statistics.median(t.beyond_engine for t in through)
    print(
        f"{streams} streams: bare {statistics.median(t.tokens_per_second for t in plain):.0f} tokens/s, "
        f"served {statistics.median(t.tokens_per_second for t in through):.0f} tokens/s, ratio {ratio:.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}); first data {1000 * wait:.1f} ms after the engine's first event, "
        f"{1000 * whole:.1f} ms of the time from the request were not the engine's"
    )


def loaded(slots: int, size: str | None) -> Noting:
    if size:
        from benchmarks.gpu import shaped

        return Noting(partial(shaped, size, slots))
    return Noting.load(slots=slots, remember=0)


def main(streams: int, repeats: int, size: str | None) -> None:
    settings = Settings(log_prompts=False)
    with bound("127.0.0.1", 0) as found, loaded(streams, size) as engine:
        server = SpecDecServer(create_app(engine, settings), settings)
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
    parser.add_argument("--size", help="on a GPU, a pair of the size of models that are used there: 8b")
    parser.add_argument("--client", type=int, metavar="PORT", help="be the client of a server that runs")
    arguments = parser.parse_args()
    if arguments.client:
        turn = asyncio.run(client(arguments.client, arguments.streams))
        print(json.dumps([turn.tokens_per_second, turn.beyond_engine, turn.firsts]))
    else:
        main(arguments.streams, arguments.repeats, arguments.size)
