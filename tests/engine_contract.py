"""What every Engine promises. Subclass `EngineContract`, give it an `engine` fixture, and it is held to it.

The engine's answer to `PROMPT` must be at least `MIN_TOKENS` tokens long.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from typing import Any

import pytest

from specdec.engine import Engine
from specdec.errors import EngineClosed, InvalidRequest
from specdec.types import Answer, Completion, ContentDelta, GenerationEvent, Message, Request
from tests.fakes import end_of

PROMPT = "Tell me about the fox and the bell."
_LONG = 200
"""Tokens of an answer that is left early: many, so that it cannot end before."""
MIN_TOKENS = 8
OPTIONS: dict[str, Any] = {"max_tokens": 12, "seed": 5, "ignore_eos": True}


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is true, and fail if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


class EngineContract:
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        raise NotImplementedError

    def test_is_an_engine(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert engine.info.context > 0
        assert engine.info.slots > 0
        assert engine.down is None

    def test_last_event_sums_up(self, engine: Engine) -> None:
        *before, last = list(engine.stream(PROMPT, **OPTIONS))
        assert last.end is not None
        assert last.end.reason in ("stop", "length")
        assert last.end.seed == OPTIONS["seed"]
        assert last.end.timing.total >= last.end.timing.ttft >= (last.end.timing.queued or 0) >= 0
        assert all(event.end is None for event in before)

    def test_text_is_the_join_of_its_tokens(self, engine: Engine) -> None:
        events = list(engine.stream(PROMPT, **OPTIONS))
        tokens = [t for e in events for t in e.tokens]
        assert "".join(e.text for e in events) == "".join(t.text for t in tokens)
        assert end_of(events).usage.completion_tokens == len(tokens) >= MIN_TOKENS

    def test_generate_is_the_joined_stream(self, engine: Engine) -> None:
        completion = engine.generate(PROMPT, **OPTIONS)
        streamed = Completion.of(list(engine.stream(PROMPT, **OPTIONS)))
        assert (completion.text, completion.token_ids) == (streamed.text, streamed.token_ids)
        assert completion.finish_reason == streamed.finish_reason

    async def test_async_says_the_same(self, engine: Engine) -> None:
        completion = await engine.agenerate(PROMPT, **OPTIONS)
        events = [event async for event in engine.astream(PROMPT, **OPTIONS)]
        assert completion.token_ids == Completion.of(events).token_ids
        assert completion.token_ids == (await asyncio.to_thread(engine.generate, PROMPT, **OPTIONS)).token_ids

    def test_a_request_is_taken_as_it_is(self, engine: Engine) -> None:
        request = Request.of(PROMPT, **OPTIONS)
        events = list(engine.stream(request))
        assert {e.request_id for e in events} == {request.id}

    def test_submit_delivers_what_a_stream_gives(self, engine: Engine) -> None:
        request, items, answer = Request.of(PROMPT, **OPTIONS), SimpleQueue[GenerationEvent | BaseException](), Answer()
        engine.submit(request, items.put)
        while answer.end is None:
            item = items.get(timeout=20)
            assert isinstance(item, GenerationEvent)
            assert item.request_id == request.id
            answer.add(item)
        completion, same = answer.completion, engine.generate(PROMPT, **OPTIONS)
        assert (completion.text, completion.token_ids) == (same.text, same.token_ids)
        assert completion.usage.completion_tokens == same.usage.completion_tokens

    def test_what_submit_returns_cancels(self, engine: Engine) -> None:
        items = SimpleQueue[GenerationEvent | BaseException]()
        cancel = engine.submit(Request.of(PROMPT, max_tokens=_LONG, ignore_eos=True), items.put)
        items.get(timeout=20)
        cancel()
        cancel()
        eventually(lambda: engine.stats().active == 0)
        assert engine.stats().cancelled == 1
        delivered = [items.get() for _ in range(items.qsize())]
        assert all(isinstance(item, GenerationEvent) and item.end is None for item in delivered)

    def test_speculation_does_not_change_the_answer(self, engine: Engine) -> None:
        plain = engine.generate(PROMPT, **OPTIONS, speculative="off")
        assert plain.stats.drafted == 0
        assert plain.stats.off_reason
        for speculative in ("auto", 1, 4):
            assert engine.generate(PROMPT, **OPTIONS, speculative=speculative).token_ids == plain.token_ids

    def test_counts_agree(self, engine: Engine) -> None:
        events = list(engine.stream(PROMPT, **OPTIONS))
        rounds = [e.round for e in events if e.round]
        stats = end_of(events).stats
        assert stats.rounds == len(rounds)
        assert stats.drafted == sum(len(r.drafted) for r in rounds)
        assert stats.accepted == sum(r.accepted for r in rounds)
        assert all(r.accepted <= len(r.drafted) for r in rounds)

    def test_wrong_values_are_refused_by_the_call(self, engine: Engine) -> None:
        with pytest.raises(InvalidRequest, match="temperature is -1"):
            engine.stream(PROMPT, temperature=-1)
        with pytest.raises(InvalidRequest, match="prompt"):
            engine.stream("")
        with pytest.raises(InvalidRequest, match=r"messages\.role"):
            engine.stream([{"role": "boss", "content": "now"}])
        assert engine.stats().active == 0

    def test_deltas_are_the_text_of_a_plain_answer(self, engine: Engine) -> None:
        events = list(engine.stream(PROMPT, **OPTIONS))
        for event in events:
            assert all(isinstance(d, ContentDelta) for d in event.deltas)
            assert "".join(d.text for d in event.deltas if isinstance(d, ContentDelta)) == event.text
        message = Completion.of(events).message
        assert message == Message("assistant", "".join(e.text for e in events))

    def test_tokenize_counts_what_a_request_uses(self, engine: Engine) -> None:
        usage = engine.generate(PROMPT, **OPTIONS).usage
        assert len(engine.tokenize(PROMPT)) == usage.prompt_tokens
        with pytest.raises(InvalidRequest, match=r"messages\.role"):
            engine.tokenize([{"role": "boss", "content": "now"}])

    def test_tools_are_checked_by_the_call(self, engine: Engine) -> None:
        chat, tool = [{"role": "user", "content": PROMPT}], {"type": "function", "function": {"name": "add"}}
        for wrong, options in (
            (r"tools\[0\] is", {"tools": [{"name": "add"}]}),
            (r"tools is 'add'; expected tools of different names", {"tools": [tool, tool]}),
            ("tool_choice is 'sub'; expected .*add", {"tools": [tool], "tool_choice": "sub"}),
            ("tools is .*a call is required", {"tool_choice": "required"}),
        ):
            with pytest.raises(InvalidRequest, match=wrong):
                engine.stream(chat, **options)
        with pytest.raises(InvalidRequest, match="a tool message behind the assistant's call"):
            engine.stream([*chat, {"role": "tool", "content": "3", "tool_call_id": "1"}])
        assert engine.stats().active == 0

    def test_closing_a_stream_cancels(self, engine: Engine) -> None:
        with closing(engine.stream(PROMPT, max_tokens=_LONG, ignore_eos=True)) as events:
            next(events)
        eventually(lambda: engine.stats().active == 0)
        assert engine.stats().cancelled == 1
        assert list(events) == []

    def test_closing_a_finished_stream_is_nothing(self, engine: Engine) -> None:
        events = engine.stream(PROMPT, **OPTIONS)
        list(events)
        events.close()
        eventually(lambda: engine.stats().active == 0)
        assert engine.stats().cancelled == 0

    async def test_closing_an_async_stream_cancels(self, engine: Engine) -> None:
        events = engine.astream(PROMPT, max_tokens=_LONG, ignore_eos=True)
        await events.__anext__()
        await events.aclose()
        await asyncio.to_thread(eventually, lambda: engine.stats().active == 0)
        assert engine.stats().cancelled == 1

    async def test_cancelling_the_task_cancels(self, engine: Engine) -> None:
        started = asyncio.Event()

        async def listen() -> None:
            async for _ in engine.astream(PROMPT, max_tokens=_LONG, ignore_eos=True):
                started.set()
                await asyncio.sleep(0)
            await asyncio.Event().wait()  # an answer that ended before the cancel arrived

        task = asyncio.create_task(listen())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(eventually, lambda: engine.stats().active == 0)

    def test_several_threads_at_once(self, engine: Engine) -> None:
        alone = engine.generate(PROMPT, **OPTIONS).token_ids
        ready = threading.Barrier(6)

        def ask(_: int) -> tuple[int, ...]:
            ready.wait(20)
            return engine.generate(PROMPT, **OPTIONS).token_ids

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(ask, range(6))) == {alone}

    async def test_several_tasks_at_once(self, engine: Engine) -> None:
        answers = await asyncio.gather(*(engine.agenerate(PROMPT, **OPTIONS) for _ in range(6)))
        assert len({a.token_ids for a in answers}) == 1

    def test_closed_engines_say_so(self, engine: Engine) -> None:
        engine.close()
        engine.close()
        with pytest.raises(EngineClosed) as caught:
            engine.generate(PROMPT, **OPTIONS)
        assert engine.down == "the engine is closed"
        assert engine.down in str(caught.value)

    def test_closing_fails_what_is_running(self, engine: Engine) -> None:
        events = engine.stream(PROMPT, max_tokens=200, ignore_eos=True)
        next(events)
        engine.close()
        with pytest.raises(EngineClosed):
            list(events)

    def test_closing_fails_what_was_submitted(self, engine: Engine) -> None:
        items = SimpleQueue[GenerationEvent | BaseException]()
        request = Request.of(PROMPT, max_tokens=200, ignore_eos=True)
        engine.submit(request, items.put)
        items.get(timeout=20)
        engine.close()
        while isinstance(item := items.get(timeout=20), GenerationEvent):
            assert item.end is None
        assert isinstance(item, EngineClosed)
        with pytest.raises(EngineClosed):
            engine.submit(request, items.put)

    def test_context_managers_close(self, engine: Engine) -> None:
        with engine as same:
            assert same is engine
        with pytest.raises(EngineClosed):
            engine.stream(PROMPT)

    async def test_async_context_managers_close(self, engine: Engine) -> None:
        async with engine as same:
            assert same is engine
        with pytest.raises(EngineClosed):
            engine.astream(PROMPT)
