"""Decode speed of the bundled pair on a CPU, beside programs that take cores for themselves.

    python -m benchmarks.neighbours [--busy 0 1 2 0] [--seconds 8]
    OMP_NUM_THREADS=2 python -m benchmarks.neighbours        always with so many threads

One JSON line for each number of busy programs: the mean of answers of 60 tokens, k=4, at temperature 0.8.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from statistics import mean

import specdec
from specdec.engine import Engine

BUSY = "while True: pass"
CHAT = [{"role": "user", "content": "Tell me a long story about a fox who finds a bell."}]


@contextmanager
def neighbours(busy: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def speeds(engine: Engine, seconds: float) -> list[float]:
    """Tokens/s of answers until the time is over, one at least."""
    found: list[float] = []
    began = time.perf_counter()
    for seed in count():
        answer = engine.generate(CHAT, max_tokens=60, ignore_eos=True, temperature=0.8, seed=seed, speculative=4)
        found.append(answer.tokens_per_second)
        if time.perf_counter() - began > seconds:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 0])
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    with specdec.load(device="cpu", slots=1, remember=0) as engine:
        for busy in options.busy:
            with neighbours(busy):
                found = speeds(engine, options.seconds)
            print(json.dumps({"busy": busy, "tokens_per_second": round(mean(found))}), flush=True)


if __name__ == "__main__":
    main()
