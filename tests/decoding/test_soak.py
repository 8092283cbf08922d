"""Half an hour of mixed load: memory stays flat, and no good request fails."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import specdec
from specdec.engine import Engine
from specdec.errors import DeadlineExceeded, InvalidRequest

MINUTES = float(os.environ.get("SPECDEC_SOAK_MINUTES", "30"))
WARM_UP, GROWTH, USERS = 0.2, 0.02, 10
"""Shares: of the time, and of the memory after it."""


def chat(rng: random.Random) -> list[dict[str, str]]:
    """A few that come again and again, many that come once."""
    number = rng.randrange(5) if rng.random() < 0.5 else rng.randrange(10_000)
    animal = rng.choice(["fox", "dog", "owl", "bee"])
    turns = [
        {"role": role, "content": f"Story {number} of the {animal}, part {i}. " * (1 + number % 8)}
        for i, role in enumerate(["user", "assistant"] * (number % 4))
    ]
    return [*turns, {"role": "user", "content": f"Tell me a story about a {animal} and {number} bells."}]


def good(engine: Engine, rng: random.Random) -> None:
    tokens = rng.randrange(2, 80)
    answer = engine.generate(
        chat(rng), temperature=rng.choice([0.0, 0.8]), max_tokens=tokens, ignore_eos=True,
        speculative=rng.choice(["auto", "auto", "off", 4]), client=str(rng.randrange(3)),
    )  # fmt: skip
    assert len(answer.tokens) == tokens


def left(engine: Engine, rng: random.Random) -> None:
    with closing(engine.stream(chat(rng), max_tokens=80)) as events:
        for _ in range(rng.randrange(6)):
            next(events, None)


def late(engine: Engine, rng: random.Random) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.generate(chat(rng), max_tokens=1000, ignore_eos=True, timeout=0.05)


def bad(engine: Engine, rng: random.Random) -> None:
    wrong: dict[str, Any] = rng.choice([{"temperature": -1}, {"max_tokens": 0}, {"stop_token_ids": (10**6,)}])
    with pytest.raises(InvalidRequest):
        engine.generate(chat(rng), **wrong)


WAYS: list[Callable[[Engine, random.Random], None]] = [good, good, good, left, left, late, bad]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES + 600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_stays_flat_and_nothing_good_fails() -> None:
    start = time.monotonic()
    stop, levels = threading.Event(), list[tuple[float, int]]()
    with specdec.load(slots=4, prefix_cache_bytes=2**24, remember=4000) as engine:

        def user(number: int) -> int:
            rng, asked = random.Random(number), 0
            while not stop.is_set():
                rng.choice(WAYS)(engine, rng)
                asked += 1
            return asked

        with ThreadPoolExecutor(USERS) as pool:
            users = [pool.submit(user, number) for number in range(USERS)]
            while (passed := time.monotonic() - start) < 60 * MINUTES and not any(u.done() for u in users):
                levels.append((passed / (60 * MINUTES), resident()))
                stop.wait(1)
            stop.set()
            asked = sum(u.result() for u in users)
        stats = engine.stats()
    assert (stats.active, stats.queued) == (0, 0)
    after = [level for share, level in levels if share >= WARM_UP]
    settled, final = max(after[: len(after) // 4]), max(after[-len(after) // 4 :])
    print(f"{asked} requests, {settled / 2**20:.0f} -> {final / 2**20:.0f} MiB")  # noqa: T201
    assert final <= settled * (1 + GROWTH)
