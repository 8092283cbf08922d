"""Decoding behind long contexts on this GPU: what a pass takes by what is held, and by what a slot could hold; how soon
a known prompt is answered; and one very long request beside short ones.

    python -m benchmarks.contexts --held 400 2000 8000 32000 --capacity 2048 33000 131072
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu
from benchmarks.prompts import prompt, same_bits
from benchmarks.shapes import PAIRS
from specdec.bundled import path as bundled
from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.models.base import DECODE_ROWS
from specdec.models.eager.attention import SlotCache
from specdec.models.eager.model import EagerModel
from specdec.models.graphs import Graphs
from specdec.models.rope import Rope
from specdec.models.triton.model import TritonModel
from specdec.text.tokenizer import Tokenizer
from specdec.types import LoadOptions
from specdec.types.load import KvDtype

_SHORT = 10
"""Requests beside the very long one."""


def over(
    inner: EagerModel, capacity: int, slots: int = 1, pages: int | None = None, kv_dtype: KvDtype = "auto"
) -> TritonModel:
    """The same weights over slots of `capacity` positions."""
    family, device = inner.family, inner.info.device
    cache = SlotCache(family, slots, capacity, Rope(*family.rope, capacity, device), inner.info.dtype)
    info = replace(inner.info, context=capacity - DECODE_ROWS, slots=slots)
    return TritonModel(EagerModel(family, inner.weights, cache, info), Graphs(), pages, kv_dtype=kv_dtype)


def decoding(model: TritonModel, held: Sequence[int], rows: Sequence[int]) -> dict[str, float]:
    """Milliseconds a pass by "tokens held x rows", as far as a slot holds so many."""
    return {
        f"{tokens} x {count}": gpu.pass_ms(model, count, held=tokens)
        for tokens in held
        for count in rows
        if tokens + DECODE_ROWS < model.capacity
    }


def hit(engine: LocalEngine, tokens: int) -> float:
    """Seconds to the first token of a prompt that is known but for its end."""
    ids = prompt(tokens, seed=2)[0].tolist()
    engine.generate(ids, max_tokens=2)
    return statistics.median(engine.generate([*ids, 5 + i], max_tokens=2).timing.ttft for i in range(5))


def crowd(engine: LocalEngine, tokens: int) -> dict[str, float]:
    """Seconds of one very long request, and of short ones that arrive after it."""
    began = time.perf_counter()
    with ThreadPoolExecutor(_SHORT + 1) as pool:
        long = pool.submit(engine.generate, prompt(tokens, seed=3)[0].tolist(), max_tokens=16)
        time.sleep(0.5)
        short = [
            pool.submit(engine.generate, prompt(500, seed=4 + i)[0].tolist(), max_tokens=64) for i in range(_SHORT)
        ]
        waited = [one.result().timing.total for one in short]
    total = long.result().timing.total
    return {"long": total, "short": max(waited), "together": time.perf_counter() - began}


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> dict[str, Any]:
    device = torch.device("cuda")
    loaded = gpu.load(PAIRS[arguments.sizes][0], "target", device, torch.bfloat16, 1)
    assert isinstance(loaded, TritonModel)
    inner, page = loaded.inner, loaded.pages
    bandwidth, weights = gpu.copy_bandwidth(device), gpu.read_bytes(loaded)
    token = page.page_bytes / page.page
    facts: dict[str, Any] = {"bandwidth": bandwidth, "decoding": {}}
    for capacity in arguments.capacity:
        model = over(inner, capacity)
        for layer in model.pages.pool:
            layer.normal_()
        facts["decoding"][capacity] = times = decoding(model, arguments.held, arguments.rows)
        for kind, ms in times.items():
            floor = (weights + token * int(kind.split()[0])) / bandwidth * 1000
            print(
                f"capacity {capacity:7d}, held x rows {kind:>12s}: {ms:.3f} ms, {floor / ms:.1%} of the floor",
                flush=True,
            )
    if arguments.long:
        model = over(inner, arguments.long + 1024, _SHORT + 1, pages=(arguments.long + 40_000) // page.page)
        options = LoadOptions("target", "none", remember=0)
        with assemble(options, model, None, Tokenizer.load(bundled("target")), eos_ids=frozenset()) as engine:
            facts["hit"], facts["crowd"] = hit(engine, arguments.hit), crowd(engine, arguments.long)
        print(f"first token of {arguments.hit} known tokens: {facts['hit'] * 1000:.1f} ms")
        print("one of {} beside {} short ones: {}".format(arguments.long, _SHORT, facts["crowd"]), flush=True)
    model = over(inner, max(arguments.capacity), kv_dtype="fp8")
    facts["fp8"] = decoding(model, arguments.held, arguments.rows)
    print("keys and values in fp8, ms by held x rows:", {kind: round(ms, 3) for kind, ms in facts["fp8"].items()})
    print("the same bits in any pieces:", same_bits(model, 3000 if model.capacity > 3100 else 1000))
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(PAIRS), default="8b")
    parser.add_argument("--held", type=int, nargs="+", default=[400, 2000, 8000, 32000], help="tokens held")
    parser.add_argument("--capacity", type=int, nargs="+", default=[2048, 33000, 131072], help="of a slot")
    parser.add_argument("--rows", type=int, nargs="+", default=[1], help="tokens of a pass")
    parser.add_argument("--hit", type=int, default=30_000, help="tokens of the known prompt")
    parser.add_argument("--long", type=int, default=120_000, help="tokens of the very long request; 0: none")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    facts = run(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
