"""What no suite of the framework proves: that async never blocks the loop, and that whoever leaves frees the slot."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, closing
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import ChatMessage

from llama_index.llms.specdec import SpecDec
from specdec.types import EngineStats
from tests.engine_contract import eventually
from tests.fakes import SCRIPT, ScriptedEngine
from tests.llama_index_specdec.test_structured import PROMPT, Person

STORY = [ChatMessage("Tell me a story about a fox.")]
LONG: dict[str, Any] = {"max_tokens": 1500, "ignore_eos": True}
STALL = 0.020
TRIES = 8


async def drained(stream: Coroutine[Any, Any, Any]) -> None:
    async for _ in await stream:
        pass


async def longest_stall(job: Awaitable[Any]) -> float:
    """Seconds for which the loop ran nothing else while the job was under way."""
    longest, before = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest, before
        while True:
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.perf_counter() - before), time.perf_counter()

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await job
    ticking.cancel()
    return max(longest, time.perf_counter() - before)


@pytest.mark.parametrize("form", ["achat", "astream_chat", "astructured_predict"])
async def test_the_loop_goes_on(bundled: SpecDec, form: str) -> None:
    """In the best of several tries, beside what stalls it while the same answer is made off the loop: the machine may
    have other things to do."""
    forms: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "achat": lambda: bundled.achat(STORY),
        "astream_chat": lambda: drained(bundled.astream_chat(STORY)),
        "astructured_predict": lambda: bundled.astructured_predict(Person, PROMPT, text="Mara is 31."),
    }
    stalls: list[tuple[float, float]] = []
    while len(stalls) < TRIES and not any(ours <= max(STALL, 2 * others) for ours, others in stalls):
        ours = await longest_stall(forms[form]())
        stalls.append((ours, await longest_stall(asyncio.to_thread(bundled.chat, STORY))))
    assert any(ours <= max(STALL, 2 * others) for ours, others in stalls), stalls


def active(llm: SpecDec) -> int:
    return llm.engine.stats().active


async def cancelled(task: asyncio.Task[Any], llm: SpecDec) -> None:
    """Cancel the task as soon as its answer is being written."""
    await asyncio.to_thread(eventually, lambda: active(llm) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def freed(llm: SpecDec, before: EngineStats) -> None:
    """Wait until the slot is free; the answer did not run on to its end."""
    await asyncio.to_thread(eventually, lambda: active(llm) == 0)
    after = llm.engine.stats()
    assert (after.cancelled, after.finished) == (before.cancelled + 1, before.finished)


async def test_cancelling_a_task_frees_its_slot(bundled: SpecDec) -> None:
    before = bundled.engine.stats()
    task = asyncio.create_task(bundled.achat(STORY, **LONG))
    await cancelled(task, bundled)
    await freed(bundled, before)


async def test_cancelling_a_reader_frees_its_slot(bundled: SpecDec) -> None:
    before = bundled.engine.stats()
    task = asyncio.create_task(drained(bundled.astream_chat(STORY, **LONG)))
    await cancelled(task, bundled)
    await freed(bundled, before)


def held(**options: Any) -> tuple[SpecDec, ScriptedEngine, LlamaDebugHandler]:
    """An LLM that says one thing and then waits, with a callback handler that keeps every exception it is told of."""
    engine = ScriptedEngine(hold=1)
    handler = LlamaDebugHandler(print_trace_on_end=False)
    return SpecDec(engine=engine, callback_manager=CallbackManager([handler]), **options), engine, handler


@pytest.mark.parametrize("form", ["stream_chat", "stream_complete"])
def test_leaving_a_stream_frees_its_slot(form: str) -> None:
    llm, engine, _ = held()
    responses = llm.stream_chat(STORY) if form == "stream_chat" else llm.stream_complete("Hello")
    with closing(responses):
        next(responses)
        assert engine.stats().active == 1
    assert (engine.stats().active, engine.stats().cancelled) == (0, 1)


@pytest.mark.parametrize("form", ["astream_chat", "astream_complete"])
async def test_leaving_an_async_stream_frees_its_slot(form: str) -> None:
    llm, engine, _ = held()
    asked = llm.astream_chat(STORY) if form == "astream_chat" else llm.astream_complete("Hello")
    async with aclosing(await asked) as responses:
        await anext(responses)
        assert engine.stats().active == 1
    assert (engine.stats().active, engine.stats().cancelled) == (0, 1)


async def test_leaving_structured_streams_frees_their_slots() -> None:
    llm, engine, _ = held()
    parts = llm.stream_structured_predict(Person, PROMPT, text="x")
    next(parts)
    parts.close()
    assert engine.stats().cancelled == 1
    aparts = await llm.astream_structured_predict(Person, PROMPT, text="x")
    await anext(aparts)
    await aparts.aclose()
    await asyncio.to_thread(eventually, lambda: engine.stats().cancelled == 2)


async def test_streams_that_nobody_reads_free_their_slots() -> None:
    llm, engine, _ = held()
    llm.stream_chat(STORY)
    await llm.astream_chat(STORY)
    gc.collect()
    assert (engine.stats().active, engine.stats().cancelled) == (0, 2)


async def test_the_first_words_come_at_once() -> None:
    llm, engine, _ = held()
    async with aclosing(await llm.astream_chat(STORY)) as responses:
        first = await anext(responses)
        assert first.delta == SCRIPT[0]
        engine.go_on()
        *_, last = [r async for r in responses]
        assert last.message.content == "".join(SCRIPT)


async def test_many_are_answered_at_once() -> None:
    llm, engine, _ = held()
    tasks = [asyncio.create_task(llm.achat(STORY)) for _ in range(4)]
    await asyncio.to_thread(eventually, lambda: engine.stats().active == 4)
    engine.go_on()
    assert {response.message.content for response in await asyncio.gather(*tasks)} == {"".join(SCRIPT)}


async def test_no_threads_are_left(bundled: SpecDec) -> None:
    bundled.chat(STORY, max_tokens=4)
    before = threading.active_count()
    await asyncio.gather(*(bundled.achat(STORY, max_tokens=4) for _ in range(8)))
    await asyncio.gather(*(drained(bundled.astream_chat(STORY, max_tokens=4)) for _ in range(8)))
    list(bundled.stream_chat(STORY, max_tokens=4))
    assert threading.active_count() <= before


def test_threads_can_share_one(bundled: SpecDec) -> None:
    expected = bundled.chat(STORY, max_tokens=16).message.content
    heard: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: heard.append(bundled.chat(STORY, max_tokens=16).message.content))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [expected] * 6
