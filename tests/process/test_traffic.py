"""Events and cancellations between the two processes, with many requests at once."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from specdec.errors import DeadlineExceeded
from specdec.process import ProcessEngine
from specdec.process.messages import Batch, Order
from specdec.process.worker import _Outbox
from specdec.types import Completion, Ending, GenerationEvent, Round, SpecStats, Timing, Usage
from tests.decoding.toy import toy_engine
from tests.engine_contract import eventually
from tests.process import factories
from tests.process.watching import descriptors

LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 200, "ignore_eos": True}


@pytest.fixture(scope="module")
def engine() -> Iterator[ProcessEngine]:
    with ProcessEngine(factories.toy) as engine:
        yield engine


def test_the_answer_is_the_one_of_the_same_engine_here(engine: ProcessEngine) -> None:
    options: dict[str, Any] = {
        "seed": 3,
        "max_tokens": 60,
        "logprobs": 2,
        "ignore_eos": True,
        "speculative": 3,
    }
    with toy_engine("near", slots=4) as local:
        here, there = (Completion.of(list(e.stream("abc", **options))) for e in (local, engine))
        assert (there.text, there.tokens, there.usage, there.stats.drafters) == (
            here.text,
            here.tokens,
            here.usage,
            here.stats.drafters,
        )
        assert len(there.stats.decisions) == len(here.stats.decisions)
        assert local.info == engine.info


def test_a_deadline_and_the_queue_cross_over(engine: ProcessEngine) -> None:
    with pytest.raises(DeadlineExceeded, match="timeout is 1e-06 s"):
        engine.generate([5], **LONG, timeout=1e-6)
    streams = [engine.stream([i], **LONG, client="me") for i in range(12)]
    eventually(lambda: engine.stats().queued > 1)
    queue = engine.stats().queue
    assert [queued.position for queued in queue] == list(range(1, len(queue) + 1))
    assert {queued.client for queued in queue} == {"me"}
    for events in streams:
        events.close()
    eventually(lambda: engine.stats().active == engine.stats().queued == 0)


def test_a_hundred_streams_at_once_each_get_their_own(engine: ProcessEngine) -> None:
    options: dict[str, Any] = {"max_tokens": 20, "ignore_eos": True}
    alone = [engine.generate([i], seed=i, **options).token_ids for i in range(10)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: engine.generate([i % 10], seed=i % 10, **options).token_ids, range(100)))
    assert answers == alone * 10


async def test_tasks_and_cancels_mix_and_nothing_is_lost(engine: ProcessEngine) -> None:
    options: dict[str, Any] = {"seed": 1, "max_tokens": 20, "ignore_eos": True}
    alone = (await engine.agenerate([5], **options)).token_ids
    before = engine.stats(), descriptors(), threading.active_count()

    async def leave(after: int) -> None:
        events = engine.astream([5], **LONG)
        for _ in range(after):
            await events.__anext__()
        await events.aclose()

    tasks = [leave(i % 5) if i % 2 else engine.agenerate([5], **options) for i in range(60)]
    answers = await asyncio.gather(*tasks)
    assert {a.token_ids for a in answers if a is not None} == {alone}
    await asyncio.to_thread(eventually, lambda: engine.stats().active == engine.stats().queued == 0)
    after = engine.stats()
    assert after.finished - before[0].finished == 30
    assert after.cancelled - before[0].cancelled == 30
    assert descriptors() == before[1]
    assert not engine._child._inboxes


def test_a_cancel_frees_the_slot_in_the_child() -> None:
    with ProcessEngine(factories.held) as engine:
        streams = [engine.stream("a", max_tokens=factories.HELD) for _ in range(8)]
        assert engine.stats().active == 8
        for events in streams[:4]:
            events.close()
        eventually(lambda: engine.stats().active == 4)
        del streams, events
        gc.collect()
        eventually(lambda: engine.stats().cancelled == 8)


async def test_cancelling_a_task_before_the_child_has_answered() -> None:
    with ProcessEngine(factories.held) as engine:
        task = asyncio.create_task(engine.agenerate("a", max_tokens=factories.HELD))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(eventually, lambda: engine.stats().cancelled == 1)


def test_a_parent_that_lags_holds_no_worker_up(tmp_path: Path) -> None:
    """Its reading thread stands still: the child goes on to the end of an answer that no pipe could hold."""
    done, go_on = tmp_path / "done", threading.Event()

    def stand_still(_: object) -> None:
        go_on.wait(20)

    with ProcessEngine(partial(factories.long_winded, done=done)) as engine:
        events = engine.stream("a")
        engine._child.ask(Order.STATS, stand_still)
        try:
            eventually(done.exists)
        finally:
            go_on.set()
        assert len(Completion.of(list(events)).tokens) == factories.LONG_WINDED


def test_what_gathers_is_sent_together_and_in_order() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, os.fdopen(reading, "rb") as other_end:
        outbox = _Outbox(pipe)
        for number in range(20_000):  # returns although nobody reads
            outbox.put(number, GenerationEvent("a", "b"))
        batches: list[Batch] = []
        while sum(len(batch) for batch in batches) < 20_000:
            batches.append(pickle.load(other_end))
        outbox.close()
    assert [number for batch in batches for number, _ in batch] == list(range(20_000))
    assert len(batches) < 10_000


def test_a_round_that_follows_soon_goes_out_with_the_next() -> None:
    """The first token does not wait, nor what ends the answer."""
    round_ = Round(None, (), 0, 0.001, 0.002)
    rounds = [GenerationEvent("a", str(n), round=round_) for n in range(4)]
    last = GenerationEvent("a", round=round_, end=Ending("stop", Usage(1, 1), Timing(0, 0, 0), SpecStats(1), 0))
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, os.fdopen(reading, "rb") as other_end:
        outbox = _Outbox(pipe)
        outbox.gather = 3600
        for event in (GenerationEvent("a"), GenerationEvent("a", "first"), *rounds, last):
            outbox.put(1, event)
        batches = [pickle.load(other_end) for _ in range(4)]
        outbox.close()
    sent = [[event.text if not event.end else "end" for _, event in batch] for batch in batches]
    assert sent == [[""], ["first"], ["0"], ["1", "2", "3", "end"]]
