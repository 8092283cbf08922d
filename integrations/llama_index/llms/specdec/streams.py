"""Answers of an engine as responses: whole, or as a stream that always frees its slot.

The framework's callbacks wrap a stream in a generator of their own, which does not close what it wraps; and a callback
handler that keeps the exception of a stream left early keeps the wrapped one alive. So the engine's events are closed
here, outside of that generator. Events that nobody ever asked for are closed when they are dropped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from typing import Any, TypeVar

from llama_index.llms.specdec.answers import Answer
from specdec.engine import AsyncEventStream, Engine, EventStream
from specdec.types import Request

R = TypeVar("R")
Shape = Callable[[Answer], R]
"""The answer so far as a response."""
Callback = Callable[[Callable[..., Any]], Callable[..., Any]]
"""`llm_chat_callback()` or `llm_completion_callback()`."""


def whole(engine: Engine, request: Request) -> Answer:
    """The answer when it is finished."""
    with closing(engine.stream(request)) as events:
        answer = Answer()
        for event in events:
            answer.add(event)
        return answer.told()


async def awhole(engine: Engine, request: Request) -> Answer:
    """The same for asyncio."""
    async with aclosing(engine.astream(request)) as events:
        answer = Answer()
        async for event in events:
            answer.add(event)
        return answer.told()


def stream(
    llm: Any, callback: Callback, request: Callable[..., Request], shape: Shape[R], *args: Any, **kwargs: Any
) -> Generator[R, None, None]:
    """The answer to `request(*args, **kwargs)`, one response an event, with the framework's callbacks around it."""
    slot = ExitStack()

    @callback
    def observed(llm: Any, *args: Any, **kwargs: Any) -> Generator[R, None, None]:
        events = llm.engine.stream(request(*args, **kwargs))
        return _responses(slot.enter_context(closing(events)), shape)

    return _closed(observed(llm, *args, **kwargs), slot)


async def astream(
    llm: Any, callback: Callback, request: Callable[..., Request], shape: Shape[R], *args: Any, **kwargs: Any
) -> AsyncGenerator[R, None]:
    """The same for asyncio."""
    slot = AsyncExitStack()

    @callback
    async def observed(llm: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[R, None]:
        events = llm.engine.astream(request(*args, **kwargs))
        return _aresponses(await slot.enter_async_context(aclosing(events)), shape)

    return _aclosed(await observed(llm, *args, **kwargs), slot)


def _responses(events: EventStream, shape: Shape[R]) -> Generator[R, None, None]:
    answer = Answer()
    for event in events:
        if answer.add(event):
            yield shape(answer)


async def _aresponses(events: AsyncEventStream, shape: Shape[R]) -> AsyncGenerator[R, None]:
    answer = Answer()
    async for event in events:
        if answer.add(event):
            yield shape(answer)


def _closed(responses: Generator[R, None, None], slot: ExitStack) -> Generator[R, None, None]:
    with slot:
        yield from responses


async def _aclosed(responses: AsyncGenerator[R, None], slot: AsyncExitStack) -> AsyncGenerator[R, None]:
    async with slot, aclosing(responses):
        async for response in responses:
            yield response
