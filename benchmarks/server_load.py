"""Many clients at once on the bundled pair, many of which leave at random: does the endpoint keep its promises?

    python -m benchmarks.server_load [--clients 200] [--leaving 0.4] [--seconds 300]

Promises: every answer that is waited for is complete and the same as when it was asked for alone; a full queue says 429
and when to come again; nothing hangs; every slot is free at the end; memory does not grow. Exits with 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import httpx

from benchmarks.streaming_client import ask

HANG = 120.0  # seconds without an end
PROMPTS = tuple(
    f"Tell me a story about a {adjective} {animal}."
    for adjective in ("shy", "brave", "sleepy")
    for animal in ("fox", "bear", "mouse", "owl")
)
OPTIONS = {"max_tokens": 48, "temperature": 0}


@dataclass
class LoadResult:
    """What came of all requests."""

    counts: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    """Bytes that the server and its engine held, by the second."""

    def broken(self) -> list[str]:
        found = [
            f"{self.counts[name]} answers {name}"
            for name in ("wrong", "cut", "hung", "refused otherwise")
            if self.counts[name]
        ]
        settled = self.memory[len(self.memory) // 4 :]
        if settled and settled[-1] > 1.1 * settled[0]:
            found.append(f"memory grew from {settled[0] >> 20} to {settled[-1] >> 20} MiB")
        return found


def chat(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


async def one_client(port: int, until: float, leaving: float, expected: Mapping[str, str], result: LoadResult) -> None:
    prompts = cycle(random.sample(PROMPTS, len(PROMPTS)))
    while time.monotonic() < until:
        prompt = next(prompts)
        leave_after = random.uniform(0, 2) if random.random() < leaving else None
        try:
            async with asyncio.timeout(HANG):
                heard = await ask(port, chat(prompt), leave_after=leave_after, **OPTIONS)
        except TimeoutError:
            result.counts["hung"] += 1
            continue
        if heard is None:
            result.counts["left"] += 1
        elif heard.status == 429:
            result.counts["told to come again"] += 1
            await asyncio.sleep(min(heard.retry_after, until - time.monotonic(), 5) * random.uniform(0.5, 1))
        elif heard.status != 200:
            result.counts["refused otherwise"] += 1
        elif not heard.done:
            result.counts["cut"] += 1
        else:
            result.counts["right" if heard.text == expected[prompt] else "wrong"] += 1


async def alone(port: int) -> dict[str, str]:
    """Each prompt's answer, asked for by itself."""
    found = {}
    for prompt in PROMPTS:
        heard = await ask(port, chat(prompt), **OPTIONS)
        assert heard and heard.done
        found[prompt] = heard.text
    return found


async def watch(pid: int, result: LoadResult) -> None:
    while True:
        result.memory.append(sum(map(resident, family(pid))))
        await asyncio.sleep(1)


def family(pid: int) -> list[int]:
    """A process and those it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def resident(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(found[1]) if found else 0


async def load(port: int, pid: int, clients: int, leaving: float, seconds: float) -> LoadResult:
    result, expected = LoadResult(), await alone(port)
    watching = asyncio.create_task(watch(pid, result))
    until = time.monotonic() + seconds
    await asyncio.gather(*(one_client(port, until, leaving, expected, result) for _ in range(clients)))
    watching.cancel()
    return result


def busy(port: int) -> float:
    """Answers that hold a slot or wait for one."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return sum(float(n) for n in re.findall(r"^specdec_(?:active|queued) (\S+)$", text, re.MULTILINE))


def freed(port: int) -> bool:
    """Whether every slot is free within a second or two."""
    end = time.monotonic() + 5
    while busy(port):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """Port and process id of `specdec serve`, its log left out."""
    command = [sys.executable, "-m", "specdec", "serve", "--port", "0", "--log-level", "error"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "listening on" in line)
        try:
            yield int(line.split("/v1")[0].rpartition(":")[2]), process.pid
        finally:
            process.terminate()


def main(clients: int, leaving: float, seconds: float) -> int:
    with serving() as (port, pid):
        result = asyncio.run(load(port, pid, clients, leaving, seconds))
        broken = result.broken() + ([] if freed(port) else ["slots are not free at the end"])
    print(f"{clients} clients, {seconds:.0f} s: {dict(result.counts)}")
    print(f"memory, MiB: {[m >> 20 for m in result.memory[:: max(1, len(result.memory) // 10)]]}")
    print("\n".join(f"BROKEN: {what}" for what in broken) or "every promise kept")
    return bool(broken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--leaving", type=float, default=0.4)
    parser.add_argument("--seconds", type=float, default=300)
    arguments = parser.parse_args()
    raise SystemExit(main(arguments.clients, arguments.leaving, arguments.seconds))
