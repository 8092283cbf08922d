"""Whether `auto` is ever slower than plain decoding, in each of the first answers of a fresh process.

    python -m benchmarks.first_answers --sizes 8b --held 0 12000 --json first.json
    python -m benchmarks.first_answers --sizes tiny --device cpu --held 0 1500
    python -m benchmarks.first_answers --drafters eagle3 dflash --held 0     # heads with random weights: hostile ones

Each row of the table is a process of its own: its first answers speculate, with one prompt each, and then the same
prompts are answered plainly, when everything is warm. A speed is that of decoding, after the first token.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import gpu
from benchmarks.heads import LENGTHS, random_head
from benchmarks.shapes import PAIRS
from specdec.bench.prompts import built_in
from specdec.bundled import path as bundled
from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.drafters.base import LoadedDrafter
from specdec.drafters.model import DraftModelDrafter
from specdec.text.tokenizer import Tokenizer
from specdec.types import Completion, LoadOptions, Speculative

DRAFTERS = ("model", "lookup", "hostile", *LENGTHS)
_ROOM = 256
"""Tokens of a slot beyond what is held and answered."""


def prompts(tokenizer: Tokenizer, held: int, count: int) -> list[list[int]]:
    """Texts to go on from, behind `held` tokens of other texts; no two begin alike."""
    every = [tokenizer.chat(p.messages).tokens for p in built_in()]
    asked = islice(cycle(tokenizer.chat(p.messages).tokens for p in built_in(["story", "copy"])), count)
    before = (islice(cycle(chain.from_iterable(every[i:] + every[:i])), held) for i in range(count))
    return [[3 + i, *texts, *ids] for i, (texts, ids) in enumerate(zip(before, asked, strict=True))]


def engine_of(arguments: argparse.Namespace, drafter: str, held: int, tokenizer: Tokenizer) -> LocalEngine:
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    size, small = PAIRS[arguments.sizes]
    longest = max(map(len, prompts(tokenizer, held, arguments.answers)))
    context = longest + arguments.tokens + _ROOM
    target = gpu.load(size, "target", device, dtype, arguments.slots, context=context)
    draft: LoadedDrafter | None = None
    if drafter in LENGTHS:
        draft = random_head(drafter, size, target)
    elif drafter != "lookup":
        hostile = drafter == "hostile"
        model = gpu.load(small, "draft", device, dtype, arguments.slots, context=context, hostile=hostile)
        draft = DraftModelDrafter.over(model, target)
    options = LoadOptions(
        "target", "none" if drafter in ("hostile", *LENGTHS) else "lookup", prefix_cache_bytes=0, remember=0
    )
    return assemble(options, target, draft, tokenizer, eos_ids=frozenset())


def measure(arguments: argparse.Namespace, drafter: str, held: int) -> dict[str, Any]:
    """The first answers of this process, and the same ones without drafts."""
    tokenizer = Tokenizer.load(bundled("target"))
    began = time.perf_counter()
    with engine_of(arguments, drafter, held, tokenizer) as engine:
        loaded = time.perf_counter() - began
        asked = prompts(tokenizer, held, arguments.answers)

        def answer(ids: Sequence[int], speculative: Speculative) -> Completion:
            return engine.generate(
                ids,
                max_tokens=arguments.tokens,
                ignore_eos=True,
                temperature=arguments.temperature,
                seed=1,
                speculative=speculative,
            )

        fast = [answer(ids, "auto") for ids in asked]
        plain = [answer(ids, "off") for ids in asked]
    return {
        "drafter": drafter,
        "held": held,
        "load_seconds": loaded,
        "same": [a.token_ids for a in fast] == [a.token_ids for a in plain],
        "auto": [a.tokens_per_second for a in fast],
        "plain": [a.tokens_per_second for a in plain],
        "ttft": [[a.timing.ttft for a in answers] for answers in (fast, plain)],
        "drafted": [a.stats.drafted for a in fast],
        "accepted": [a.stats.accepted for a in fast],
    }


def apart(arguments: argparse.Namespace, drafter: str, held: int) -> dict[str, Any]:
    """The same in a process of its own."""
    given = {name: getattr(arguments, name) for name in ("sizes", "device", "dtype", "tokens", "answers", "slots")}
    options = [f"--{name}={value}" for name, value in given.items()]
    one = ["--drafters", drafter, "--held", str(held), "--temperature", str(arguments.temperature), "--one"]
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_answers", *options, *one], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise RuntimeError(found.stderr)
    return dict(json.loads(found.stdout.splitlines()[-1]))


def show(row: dict[str, Any]) -> None:
    ratios = [fast / plain for fast, plain in zip(row["auto"], row["plain"], strict=True)]
    each = " ".join(f"{ratio:5.2f}" for ratio in ratios)
    drafted, same = sum(row["drafted"]), "yes" if row["same"] else "NO"
    rate = f"{sum(row['accepted']) / drafted:.2f}" if drafted else "-"
    waited = ", ".join(f"{median(times) * 1000:.0f}" for times in row["ttft"])
    print(f"{row['drafter']:8s} behind {row['held']:6d}: {each}  least {min(ratios):.2f}", flush=True)
    print(
        f"    plain {median(row['plain']):.1f} tokens/s, {rate} accepted, first token {waited} ms, same text {same}, "
        f"loaded in {row['load_seconds']:.1f} s",
        flush=True,
    )


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(PAIRS), default="8b" if cuda else "tiny")
    parser.add_argument("--device", default="cuda:0" if cuda else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if cuda else "float32")
    parser.add_argument("--drafters", nargs="+", choices=DRAFTERS, default=DRAFTERS)
    parser.add_argument("--held", type=int, nargs="+", default=[0, 12_000], help="tokens before each prompt")
    parser.add_argument("--answers", type=int, default=10, help="how many")
    parser.add_argument("--tokens", type=int, default=192, help="of each answer")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--slots", type=int, default=4, help="how many requests could run at once")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--one", action="store_true", help="in this process; prints JSON")
    return parser.parse_args(given)


def main() -> None:
    arguments = parsed()
    rows = []
    for held in arguments.held:
        for drafter in arguments.drafters:
            row = (measure if arguments.one else apart)(arguments, drafter, held)
            rows.append(row)
            print(json.dumps(row)) if arguments.one else show(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
