"""What the framework classes cost and give, on the bundled pair: `python -m benchmarks.frameworks`.

Each ratio is of two ways that take turns within one run, and the median over repeats. Targets: the loop stalls for
20 ms at most, a cancelled task's slot is free within one round, 16 prompts together at 2.5 times the speed of one after
the other (with an engine that remembers nothing, as if every prompt were new), the class costs 3 % of the engine's
speed, and JSON by a schema with forced tokens as drafts comes at 1.3 times the speed of plain unconstrained text.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import specdec
from langchain_specdec import ChatSpecDec
from specdec.engine import Engine
from specdec.types import Grammar, Message, RequestOptions

STORY = "Tell me a story about a fox who lost a bell."
ANIMALS = ("fox", "bear", "hen", "cat", "dog", "frog", "duck", "horse")
REPEATS = 5
PERSON = {
    "type": "object",
    "properties": {
        "full_name": {"type": "string", "maxLength": 20},
        "occupation": {"type": "string", "maxLength": 20},
        "age_in_years": {"type": "integer", "minimum": 0, "maximum": 120},
        "is_employed": {"type": "boolean"},
        "home_address": {
            "type": "object",
            "properties": {"street_name": {"type": "string", "maxLength": 20}, "city_name": {"enum": ["Oslo", "Lima"]}},
            "required": ["street_name", "city_name"],
            "additionalProperties": False,
        },
    },
    "required": ["full_name", "occupation", "age_in_years", "is_employed", "home_address"],
    "additionalProperties": False,
}


def main() -> None:
    with specdec.load(slots=16, remember=0, prefix_cache_bytes=0) as forgetful:
        abatch = together(ChatSpecDec(engine=forgetful, temperature=0))
    with specdec.load(slots=16) as engine:
        model = ChatSpecDec(engine=engine, temperature=0)
        model.invoke(STORY, max_tokens=20)
        figures = {
            "16-way abatch / sequential invoke": abatch,
            "event loop's longest stall, ms": asyncio.run(stall(model)) * 1000,
            "rounds from a cancel to a free slot": asyncio.run(cancel(model, engine)),
            "the same, of prompts that were answered before": together(model),
            "speed through the class / bare engine": overhead(model, engine),
            "JSON by a schema / plain unconstrained": forced(engine),
        }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


async def stall(model: ChatSpecDec) -> float:
    """Seconds that a task which sleeps for nothing waited longest while an answer was written."""
    worst, task = 0.0, asyncio.create_task(model.ainvoke(STORY, max_tokens=300))
    await asyncio.sleep(0)
    while not task.done():
        start = time.perf_counter()
        await asyncio.sleep(0)
        worst = max(worst, time.perf_counter() - start)
    return worst


async def cancel(model: ChatSpecDec, engine: Engine) -> float:
    """The most rounds that ran after the cancel."""
    most = 0
    for _ in range(REPEATS):
        task = asyncio.create_task(model.ainvoke(STORY, ignore_eos=True, max_tokens=1500))
        before = engine.stats().rounds
        while engine.stats().rounds < before + 5:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        at = engine.stats().rounds
        while engine.stats().active:
            await asyncio.sleep(0.0005)
        most = max(most, engine.stats().rounds - at)
    return most


def together(model: ChatSpecDec) -> float:
    prompts = [f"Tell me a story about a {animal} and a {thing}." for animal in ANIMALS for thing in ("bell", "kite")]
    options: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True}
    return _median_ratio(
        lambda: _seconds(lambda: [model.invoke(p, **options) for p in prompts]),
        lambda: _seconds(lambda: asyncio.run(model.abatch([*prompts], **options))),
        repeats=3,
    )


def overhead(model: ChatSpecDec, engine: Engine) -> float:
    options: dict[str, Any] = {"max_tokens": 200, "ignore_eos": True}
    chat = [Message("user", STORY)]
    return _median_ratio(
        lambda: _seconds(lambda: list(engine.stream(chat, temperature=0, **options))),
        lambda: _seconds(lambda: list(model.stream(STORY, **options))),
        repeats=9,
    )


def forced(engine: Engine) -> float:
    """Tokens a second of each: the answers differ in length."""
    chat, form = [Message("user", "Describe a person as JSON.")], Grammar.json_schema(PERSON)

    def rate(options: RequestOptions) -> float:
        return engine.generate(chat, **options).tokens_per_second

    one: RequestOptions = {"temperature": 1, "seed": 1}
    plain: RequestOptions = {**one, "speculative": "off", "max_tokens": 60, "ignore_eos": True}
    return _median_ratio(lambda: rate({**one, "grammar": form}), lambda: rate(plain), repeats=REPEATS)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _median_ratio(first: Callable[[], float], second: Callable[[], float], *, repeats: int) -> float:
    """first() / second(), taking turns in an order that turns around, after an untimed round of both."""
    first(), second()
    ratios = []
    for i in range(repeats):
        if i % 2:
            below, above = second(), first()
        else:
            above, below = first(), second()
        ratios.append(above / below)
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
