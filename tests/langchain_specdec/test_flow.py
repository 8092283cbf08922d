"""What no suite covers: real streaming, cancelling, batching and a loop that is never blocked, on the bundled pair."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_specdec import ChatSpecDec, SpecDecLLM, base
from specdec.engine import Engine
from specdec.errors import EngineClosed
from specdec.loading import SharedEngines, shared
from specdec.types import LoadOptions
from tests.engine_contract import eventually
from tests.fakes import SCRIPT, ScriptedEngine

STORY = "Tell me a story about a fox who lost a bell."
LONG: dict[str, Any] = {"max_tokens": 400, "temperature": 0.8, "seed": 1}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shared()


@pytest.fixture(scope="module")
def model(engine: Engine) -> ChatSpecDec:
    return ChatSpecDec(engine=engine)


def _idle(engine: Engine) -> None:
    eventually(lambda: engine.stats().active + engine.stats().queued == 0)


# ---- streams


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_stream_is_invoke(engine: Engine, temperature: float, output_version: str) -> None:
    model = ChatSpecDec(engine=engine, temperature=temperature, seed=5, max_tokens=60, output_version=output_version)
    whole = model.invoke(STORY)
    streamed = _join(list(model.stream(STORY)))
    later = _join([chunk async for chunk in model.astream(STORY)])
    for other in (streamed, later, await model.ainvoke(STORY)):
        assert other.text == whole.text
        assert other.usage_metadata is not None
        assert whole.usage_metadata is not None
        assert other.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]
        assert other.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]


def _join(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    return first


def test_the_first_chunk_comes_long_before_the_last(model: ChatSpecDec) -> None:
    start = time.perf_counter()
    times = [time.perf_counter() - start for _ in model.stream(STORY, speculative="off", **LONG)]
    assert len(times) > 20
    assert times[0] < 0.3 * times[-1]


def test_stop_texts_across_tokens(model: ChatSpecDec) -> None:
    text = model.invoke(STORY, temperature=0, max_tokens=60).text
    stop = text[25:37]  # in the middle of words
    for answer in (
        model.invoke(STORY, temperature=0, max_tokens=60, stop=[stop]),
        _join(list(model.stream(STORY, temperature=0, max_tokens=60, stop=[stop]))),
    ):
        assert answer.text == text[: text.index(stop)]
        assert answer.response_metadata["finish_reason"] == "stop"


# ---- leaving


def test_leaving_a_stream_frees_its_slot(engine: Engine, model: ChatSpecDec) -> None:
    before = engine.stats().cancelled
    for _ in model.stream(STORY, ignore_eos=True, max_tokens=2000):
        break
    _idle(engine)
    assert engine.stats().cancelled == before + 1


async def test_leaving_an_async_stream_frees_its_slot(engine: Engine, model: ChatSpecDec) -> None:
    before = engine.stats().cancelled
    async with aclosing(model.astream(STORY, ignore_eos=True, max_tokens=2000)) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    await asyncio.to_thread(_idle, engine)
    assert engine.stats().cancelled == before + 1


async def test_cancelling_ainvoke_stops_the_engine(engine: Engine, model: ChatSpecDec) -> None:
    before, rounds = engine.stats().cancelled, engine.stats().rounds
    task = asyncio.create_task(model.ainvoke(STORY, ignore_eos=True, max_tokens=2000))
    await asyncio.to_thread(eventually, lambda: engine.stats().rounds >= rounds + 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    at = engine.stats().rounds
    await asyncio.to_thread(_idle, engine)
    assert engine.stats().cancelled == before + 1
    assert engine.stats().rounds <= at + 2


async def test_cancelling_abatch_stops_all(engine: Engine, model: ChatSpecDec) -> None:
    before = engine.stats().cancelled
    task = asyncio.create_task(model.abatch([STORY] * 6, ignore_eos=True, max_tokens=2000))
    await asyncio.to_thread(eventually, lambda: engine.stats().active > 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(_idle, engine)
    assert engine.stats().cancelled == before + 6


# ---- together


def test_prompts_of_one_call_share_rounds() -> None:
    """Each waits until all are there: one after the other would never end."""
    engine = ScriptedEngine(SCRIPT, hold=1)
    model, llm = ChatSpecDec(engine=engine), SpecDecLLM(engine=engine)
    asks: tuple[Callable[[], Sequence[object]], ...] = (
        lambda: model.batch(["hi"] * 12),
        lambda: model.generate_prompt([model._convert_input("hi")] * 12).generations,
        lambda: llm.generate(["hi"] * 12).generations,
    )
    for ask in asks:
        engine.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask)
            eventually(lambda: engine.stats().active == 12)
            engine.go_on()
            assert len(answer.result(20)) == 12


async def test_abatch_shares_rounds(engine: Engine, model: ChatSpecDec) -> None:
    questions = [f"Tell me a story about {name}." for name in ("Ann", "Ben", "Cleo", "Dan")]
    alone = [model.invoke(q, temperature=0, max_tokens=30).text for q in questions]
    rounds = engine.stats().rounds
    together = await model.abatch([*questions], temperature=0, max_tokens=30)
    assert [m.text for m in together] == alone
    shared_rounds = engine.stats().rounds - rounds
    assert shared_rounds > 0


async def test_the_loop_is_never_blocked(model: ChatSpecDec) -> None:
    await model.ainvoke("hi", max_tokens=4)
    worst, done = 0.0, False

    async def tick() -> None:
        nonlocal worst
        while not done:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - start)

    ticking = asyncio.create_task(tick())
    message = await model.ainvoke(STORY, **LONG)
    done = True
    await ticking
    assert isinstance(message, AIMessage)
    assert worst < 0.25  # a busy machine; `benchmarks/frameworks.py` measures it on a quiet one


def test_no_threads_are_left(model: ChatSpecDec) -> None:
    model.batch(["hi"] * 3, max_tokens=4)
    before = threading.active_count()
    for _ in range(3):
        model.invoke("hi", max_tokens=4)
        model.batch(["hi"] * 3, max_tokens=4)
        list(model.stream("hi", max_tokens=4))
        asyncio.run(model.ainvoke("hi", max_tokens=4))
    eventually(lambda: threading.active_count() <= before)


# ---- sharing


def test_one_engine_for_all_who_name_the_same_models(engine: Engine) -> None:
    first, second = ChatSpecDec(), SpecDecLLM(temperature=0.3)
    assert first._engine({}) is second._engine({})
    assert first._engine({"model": "bundled"}) is first._engine({})
    assert first.profile is not None
    assert first.profile["max_input_tokens"] == first._engine({}).info.context


def test_threads_that_ask_at_once_load_once() -> None:
    engines = SharedEngines(lambda _: ScriptedEngine())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: engines.get(LoadOptions("a" if i % 2 else "b", slots=2)), range(32)))
    assert len({id(e) for e in found}) == 2
    assert engines.peek(LoadOptions("a", slots=3)) is None
    found[0].close()
    assert engines.get(LoadOptions("b", slots=2)) is not found[0]


async def test_a_closed_engine_is_loaded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    own = SharedEngines(lambda _: ScriptedEngine())
    monkeypatch.setattr(base, "engines", own)
    for model in (ChatSpecDec(model="a"), SpecDecLLM(model="a")):
        model.invoke("hi")
        engine = own.peek(model._load_options())
        assert engine is not None
        engine.close()
        with pytest.raises(EngineClosed):
            engine.generate("hi")
        assert model.invoke("hi")
        assert own.peek(model._load_options()) is not engine
        own.get(model._load_options()).close()
        assert await model.ainvoke("hi")


# ---- completion


async def test_completion_says_the_same_in_all_ways(engine: Engine) -> None:
    llm = SpecDecLLM(engine=engine, temperature=0, max_tokens=20)
    start = "Once upon a time, there was"
    whole = llm.invoke(start)
    assert "".join(llm.stream(start)) == whole
    assert "".join([chunk async for chunk in llm.astream(start)]) == whole
    assert await llm.abatch([start] * 2) == [whole] * 2
    info = llm.generate([start]).generations[0][0].generation_info
    assert info is not None
    assert info["usage_metadata"]["output_tokens"] == 20
    assert info["speculative"]["rounds"] > 0
