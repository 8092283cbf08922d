"""The Engine contract.

Everything above the engine (command line, framework classes, endpoint, screen) knows only this module and
`specdec.types`. Importing it does not import torch.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Protocol, Self, Unpack, runtime_checkable

from specdec.types import Completion, EngineInfo, EngineStats, GenerationEvent, Request, RequestOptions

Progress = Callable[[str, float], None]
"""Called while loading with the stage's name and how much of the whole is done, 0 to 1."""
Deliver = Callable[[GenerationEvent | BaseException], None]
"""Takes the events of a request as they come, or the error that ends them, in a thread of the engine; never blocks."""


class EventStream(Iterator[GenerationEvent], Protocol):
    """The events of one request. Leaving it early with `close()` cancels the request."""

    def close(self) -> None: ...


class AsyncEventStream(AsyncIterable[GenerationEvent], Protocol):
    """The events of one request. Leaving it early with `aclose()`, or cancelling the task that waits for the next
    event, cancels the request."""

    def __aiter__(self) -> AsyncIterator[GenerationEvent]: ...

    async def __anext__(self) -> GenerationEvent: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Engine(Protocol):
    """Answers requests. Safe to call from several threads and tasks at once.

    Prompts may be text, a chat (messages or dicts), token ids, or a finished Request; `options` are the fields
    of SamplingParams and Request. Whatever is wrong with a request is raised by the call itself, before any
    event; where only another process can tell, or a grammar has to be compiled (tools have one), `astream` does not
    wait for it and its stream raises it first. A failed engine raises EngineFailed from every stream that it was
    serving.
    """

    @property
    def info(self) -> EngineInfo: ...

    @property
    def down(self) -> str | None:
        """Why it takes no requests (closed, failed, still loading, not answering), or None. Asking costs nothing."""
        ...

    def stats(self) -> EngineStats: ...

    def tokenize(
        self, prompt: Request | str | Iterable[Any], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        """The tokens that a prompt becomes, its tools included: for counting."""
        ...

    def stream(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> EventStream: ...

    def astream(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> AsyncEventStream: ...

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        """Hand a request in without a stream. Returns what cancels it, from any thread.

        What is wrong with the request is raised, or delivered where only another process can tell. The word of such a
        process that it has taken the request is a first event with nothing in it.
        """
        ...

    def close(self) -> None:
        """Stop the work, fail what is still running with EngineClosed, free the memory. Can be called twice."""
        ...

    def generate(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> Completion:
        """The whole answer at once."""
        with closing(self.stream(prompt, **options)) as events:
            return Completion.of(events)

    async def agenerate(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> Completion:
        """The whole answer at once; cancelling the task cancels the request."""
        async with aclosing(self.astream(prompt, **options)) as events:
            return Completion.of([event async for event in events])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def to_count(prompt: Request | str | Iterable[Any], tools: Sequence[Mapping[str, Any]]) -> Request:
    """The request whose prompt an engine is to tokenize."""
    return Request.of(prompt, **({"tools": tools} if tools else {}))
