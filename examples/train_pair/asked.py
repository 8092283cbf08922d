"""Prompts of the world, for `specdec train --data`: chats up to where the assistant speaks.

Contract: writes JSON lines with `category`, `messages` and `tools`, the same for the same seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

from .world.mix import stream
from .world.sample import Json


def prompts(seed: int) -> Iterator[Json]:
    """For ever."""
    rng = Random(seed)
    for sample in stream(seed):
        ends = [at for at, message in enumerate(sample.messages) if message["role"] == "assistant"]
        if ends:
            before = sample.messages[: rng.choice(ends)]
            yield {"category": sample.kind, "messages": before, "tools": sample.tools}


def main() -> None:
    """Write prompts to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a file of JSON lines")
    given = parser.parse_args()
    with given.out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(prompt) + "\n" for prompt in islice(prompts(given.seed), given.count))


if __name__ == "__main__":
    main()
