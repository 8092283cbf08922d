"""A thousand requests, started and left at random points: nothing is lost, and nobody else notices."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import aclosing
from typing import Any, cast

from specdec.decoding.engine import LocalEngine
from specdec.drafters.lookup import LookupDrafter
from specdec.drafters.memory import MemoryDrafter
from specdec.drafters.model import DraftModelDrafter
from specdec.errors import DeadlineExceeded
from specdec.models.prefixes import PrefixTree
from tests.decoding.toy import toy_engine
from tests.engine_contract import eventually

COUNT, PROMPTS, KEPT = 1000, 12, 600
OPTIONS: dict[str, Any] = {"temperature": 0.8, "max_tokens": 16, "ignore_eos": True}
Answer = tuple[int, ...] | None


def prompt(number: int) -> list[int]:
    """Some begin alike."""
    return [*range(number % 3 * 20), number, number + 1]


async def ask(engine: LocalEngine, number: int, way: int) -> Answer:
    """Read an answer to its end, or leave it: before its first event, after some, by the task, or by the clock."""
    options = OPTIONS | {"seed": number, "client": f"{number % 4}", "priority": number % 2}
    if way == 0:
        async with aclosing(engine.astream(prompt(number), **options)):
            return None
    if way == 1:
        long = options | {"max_tokens": 100}  # more than five events' worth, however much is accepted
        async with aclosing(engine.astream(prompt(number), **long)) as events:
            for _ in range(1 + number % 5):
                await events.__anext__()
            return None
    if way == 2:
        task = asyncio.create_task(engine.agenerate(prompt(number), **options))
        await asyncio.sleep(0.001 * (number % 7))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    try:
        timeout = 0.005 * (1 + number) if way == 3 else None
        return (await engine.agenerate(prompt(number), timeout=timeout, **options)).token_ids
    except DeadlineExceeded:
        return None


async def test_a_thousand_leave_nothing_behind() -> None:
    rng, busy = random.Random(0), asyncio.Semaphore(40)
    asked = [(rng.randrange(PROMPTS), rng.randrange(8)) for _ in range(COUNT)]
    with toy_engine("near", "lookup", "memory", slots=4, kept=KEPT) as engine:
        alone = [(await engine.agenerate(prompt(n), seed=n, **OPTIONS)).token_ids for n in range(PROMPTS)]
        threads, tasks = _threads(), len(asyncio.all_tasks())

        async def one(number: int, way: int) -> Answer:
            async with busy:
                return await ask(engine, number, way)

        answers = await asyncio.gather(*(one(*each) for each in asked))
        await asyncio.to_thread(eventually, lambda: engine.stats().active == engine.stats().queued == 0)
        survived = [(n, answer) for (n, _), answer in zip(asked, answers, strict=True) if answer is not None]
        assert len(survived) > COUNT / 3
        assert all(answer == alone[n] for n, answer in survived)
        assert (_threads(), len(asyncio.all_tasks())) == (threads, tasks)
        await asyncio.to_thread(eventually, lambda: _quiet(engine))
        _check_caches(engine)
        again = [(await engine.agenerate(prompt(n), seed=n, **OPTIONS)).token_ids for n in range(PROMPTS)]
        assert again == alone


def _threads() -> list[str]:
    """But for the loop's own pool, which `to_thread` fills."""
    return sorted(t.name for t in threading.enumerate() if not t.name.startswith("asyncio"))


def _quiet(engine: LocalEngine) -> bool:
    """No slot, no place in the queue, and nothing of what only a running sequence needs."""
    lookup = cast("LookupDrafter", engine._rounds._drafting._drafters["lookup"])
    return engine._scheduler.idle and not lookup._indexes


def _check_caches(engine: LocalEngine) -> None:
    """What is kept is what is counted, within its bounds."""
    drafters = engine._rounds._drafting._drafters
    memory = cast("MemoryDrafter", drafters["memory"])
    assert memory.size == sum(map(len, memory._texts.values())) <= 500
    model = cast("DraftModelDrafter", drafters["model"])
    for state, limit in ((engine._state, KEPT), (model.model.state, 1000)):
        tree = cast("PrefixTree", state.prefixes)
        assert _tokens(tree) == tree.tokens <= limit
        assert len(state.slots) == 4


def _tokens(cache: PrefixTree) -> int:
    nodes, count, leaves = list(cache._root.children.values()), 0, set()
    while nodes:
        node = nodes.pop()
        assert all(kept.shape[-2] == len(node.tokens) for kept in node.kept)
        count += len(node.tokens)
        nodes += node.children.values()
        leaves |= set() if node.children else {node}
    assert leaves == cache._leaves
    return count
