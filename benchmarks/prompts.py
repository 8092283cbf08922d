"""How fast a long prompt is read on this GPU, beside transformers' own pass (sdpa) over the same weights.

    python -m benchmarks.prompts --tokens 2048 8192 32768 --json prompts.json

Checks too that a prompt gives the same bits in whichever pieces it is read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import gpu
from benchmarks.shapes import PAIRS
from specdec.bundled import path as bundled
from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.models.base import Batch, Model
from specdec.text.tokenizer import Tokenizer
from specdec.types import LoadOptions

_AHEAD = 64
"""Tokens that a slot holds beyond the longest prompt."""
_BESIDE = 10
"""Runs beside an answer."""


def prompt(tokens: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 8000, (1, tokens), generator=torch.Generator().manual_seed(seed))


def read(model: Model, ids: Tensor, pieces: Sequence[int], slot: int = 0) -> Tensor:
    """Logits after a prompt that is read in `pieces`."""
    at, found = 0, None
    for piece in pieces:
        found = model.run(Batch(ids[:, at : at + piece], [slot], [at], int(at + piece == ids.shape[1])))
        at += piece
    assert found is not None
    assert at == ids.shape[1]
    return found.logits


def same_bits(model: Model, tokens: int) -> bool:
    """Whether a prompt's logits, and those behind it, are one whatever its pieces: whole, odd, and so short that each
    goes through the kernels of decoding."""
    ids = prompt(tokens + 4, seed=1).to(model.info.device)
    cuts = {0: [tokens], 1: [700, 1, 17, 1333, tokens - 2051]} if tokens > 2100 else {0: [tokens], 1: [1, tokens - 1]}
    narrow = [min(250, tokens - at) for at in range(0, tokens, 250)]
    found = []
    for pieces in (*cuts.values(), narrow):
        last = read(model, ids[:, :tokens], pieces)
        behind = model.run(Batch(ids[:, tokens:], [0], [tokens], 4)).logits
        found.append(torch.cat([last, behind], 1))
    return all(torch.equal(other, found[0]) for other in found)


def beside(engine: LocalEngine, tokens: int, seed: int) -> dict[str, float]:
    """A prompt arrives while another answer is being written: that one's longest gap, and the prompt's first token."""
    times = [time.perf_counter()]
    stream = engine.stream(prompt(100)[0].tolist(), ignore_eos=True, speculative="off")
    with closing(stream), ThreadPoolExecutor() as pool:
        next(stream)
        later = pool.submit(engine.generate, prompt(tokens, seed)[0].tolist(), max_tokens=2)
        for _ in stream:
            times.append(time.perf_counter())
            if later.done():
                break
    return {"gap": max(b - a for a, b in pairwise(times[1:])), "ttft": later.result().timing.ttft}


def first(engine: LocalEngine, tokens: int) -> dict[str, float]:
    """Seconds to a prompt's first token, alone and beside an answer, and that answer's longest gap of all runs."""
    alone = [engine.generate(prompt(tokens, seed)[0].tolist(), max_tokens=2).timing.ttft for seed in range(6)][1:]
    crowded = [beside(engine, tokens, seed) for seed in range(10, 11 + _BESIDE)][1:]
    return {
        "alone": statistics.median(alone),
        "beside": statistics.median(one["ttft"] for one in crowded),
        "gap": max(one["gap"] for one in crowded),
    }


@torch.inference_mode()
def ours(name: str, tokens: Sequence[int], ttft: Sequence[int]) -> dict[str, Any]:
    """Tokens a second by length of prompt, and the time to the first token through the engine."""
    device = torch.device("cuda")
    model = gpu.load(PAIRS[name][0], "target", device, torch.bfloat16, 2, context=max(*tokens, *ttft) + _AHEAD)
    model.warm_up()
    facts: dict[str, Any] = {"speed": {}, "same_bits": {}}
    for count in tokens:
        ids = prompt(count).to(device)
        facts["speed"][count] = count / gpu.median(lambda: read(model, ids, [count]), device, repeats=3)  # noqa: B023
        facts["same_bits"][count] = same_bits(model, count)
    facts["decode_ms"] = gpu.pass_ms(model, 1)
    options = LoadOptions("target", "none", prefix_cache_bytes=0, remember=0)
    with assemble(options, model, None, Tokenizer.load(bundled("target")), eos_ids=frozenset()) as engine:
        facts["first"] = {count: first(engine, count) for count in ttft}
    return facts


@torch.inference_mode()
def transformers(name: str, tokens: Sequence[int]) -> dict[int, float]:
    """Tokens a second of transformers' pass, with a cache and the last token's logits."""
    device = torch.device("cuda")
    model = gpu.in_transformers(PAIRS[name][0], "target", device, torch.bfloat16)
    found = {}
    for count in tokens:
        ids = prompt(count).to(device)
        seconds = gpu.median(lambda: model(ids, use_cache=True, logits_to_keep=1).logits, device, repeats=3)  # noqa: B023
        found[count] = count / seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(PAIRS), default="8b")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192, 32768], help="lengths of prompts")
    parser.add_argument("--ttft", type=int, nargs="+", default=[8000, 32000], help="of prompts sent to the engine")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    facts = ours(arguments.sizes, arguments.tokens, arguments.ttft)
    torch.cuda.empty_cache()
    facts["transformers"] = transformers(arguments.sizes, arguments.tokens)
    print(f"{torch.cuda.get_device_name()}, shape of {PAIRS[arguments.sizes][0].like}, bfloat16, one prompt")
    print(f"{'tokens':>8s}{'tokens/s':>10s}{'transformers':>14s}{'ratio':>8s}  same bits")
    for count, speed in facts["speed"].items():
        theirs, same = facts["transformers"][count], "yes" if facts["same_bits"][count] else "NO"
        print(f"{count:8d}{speed:10.0f}{theirs:14.0f}{speed / theirs:8.2f}  {same}")
    for count, one in facts["first"].items():
        alone, waited, gap = (one[kind] * 1000 for kind in ("alone", "beside", "gap"))
        print(f"first token of {count} through the engine: {alone:.0f} ms")
        print(f"    beside an answer {waited:.0f} ms ({waited / alone:.2f} x); that answer's longest gap {gap:.0f} ms")
    print(f"one token decoded: {facts['decode_ms']:.2f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
