"""Streams of responses that always free their slot.

The framework's callbacks wrap a stream in a generator of their own, which does not close what it wraps; and a callback
handler that keeps the exception of a stream left early keeps the wrapped one alive. So the engine's events are closed
here, outside of that generator. Events that nobody ever asked for are closed when they are dropped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from typing import Any, TypeVar

from llama_index.llms.specdec.answers import Responses, Shape
from specdec.types import Request

R = TypeVar("R")
Callback = Callable[[Callable[..., Any]], Callable[..., Any]]
"""`llm_chat_callback()` or `llm_completion_callback()`."""


def stream(
    llm: Any, callback: Callback, request: Callable[..., Request], shape: Shape[R], *args: Any, **kwargs: Any
) -> Generator[R, None, None]:
    """The answer to `request(*args, **kwargs)`, one response an event, with the framework's callbacks around it."""
    slot, responses = ExitStack(), Responses(shape)

    @callback
    def observed(llm: Any, *args: Any, **kwargs: Any) -> Generator[R, None, None]:
        events = slot.enter_context(closing(llm.engine.stream(request(*args, **kwargs))))
        return (response for event in events for response in responses.of(event))

    return _closing(observed(llm, *args, **kwargs), slot)


async def astream(
    llm: Any, callback: Callback, request: Callable[..., Request], shape: Shape[R], *args: Any, **kwargs: Any
) -> AsyncGenerator[R, None]:
    """The same for asyncio."""
    slot, responses = AsyncExitStack(), Responses(shape)

    @callback
    async def observed(llm: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[R, None]:
        engine = await llm._aengine()  # noqa: SLF001  (half of the class)
        events = await slot.enter_async_context(aclosing(engine.astream(request(*args, **kwargs))))
        return (response async for event in events for response in responses.of(event))

    return _aclosing(await observed(llm, *args, **kwargs), slot)


def _closing(responses: Generator[R, None, None], slot: ExitStack) -> Generator[R, None, None]:
    with slot:
        yield from responses


async def _aclosing(responses: AsyncGenerator[R, None], slot: AsyncExitStack) -> AsyncGenerator[R, None]:
    async with slot, aclosing(responses):
        async for response in responses:
            yield response
