"""500 streams, some cut by the server, some left by their reader: nothing lost, nothing doubled, nothing left open."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

from specdec.errors import EngineFailed
from specdec.remote import RemoteEngine
from tests.engine_contract import eventually
from tests.remote.scripted import Answer, Exchange, ScriptedServer, story

STREAMS, AT_ONCE, LENGTH = 500, 50, 30


def _cut_after(count: int) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for at in range(count):
            await exchange.send({"choices": [{"text": f" w{at}", "token_ids": [at]}]})
        await exchange.cut()

    return answer


async def _one(engine: RemoteEngine, leave_after: int | None, gate: asyncio.Semaphore) -> tuple[str, list[int]]:
    """How it ended, and the tokens that came."""
    ids: list[int] = []
    async with gate, aclosing(engine.astream("Once", max_tokens=LENGTH)) as events:
        try:
            async for event in events:
                ids += [t.id for t in event.tokens]
                if leave_after is not None and len(ids) >= leave_after:
                    return "left", ids
        except EngineFailed:
            return "cut", ids
    return "whole", ids


async def test_nothing_is_lost_doubled_or_leaked() -> None:
    dice = random.Random(3)
    with ScriptedServer(pace=0.0) as server, RemoteEngine(server.url) as engine:
        server.answers.extend(
            _cut_after(dice.randrange(1, LENGTH)) if dice.random() < 0.3 else story for _ in range(STREAMS)
        )
        leave = [dice.randrange(1, LENGTH) if dice.random() < 0.3 else None for _ in range(STREAMS)]
        gate = asyncio.Semaphore(AT_ONCE)
        ended = await asyncio.gather(*(_one(engine, after, gate) for after in leave))
        for how, ids in ended:
            assert ids == list(range(len(ids)))
            assert (len(ids) == LENGTH) == (how == "whole")
        assert {how for how, _ in ended} == {"left", "cut", "whole"}
        assert len(server.seen) == STREAMS, "what was delivered in part is not asked for again"
        await asyncio.to_thread(eventually, lambda: engine.stats().active == 0)
        engine.close()
        await asyncio.to_thread(eventually, lambda: server.connections == 0)
