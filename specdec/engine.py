"""The Engine contract, and `load()`, which turns the name of a target into an Engine.

Everything above the engine (command line, framework classes, endpoint, screen) knows only this module and
`specdec.types`. Importing it does not import torch.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import partial
from os import PathLike, fspath
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable

from specdec.errors import InvalidRequest
from specdec.types import Completion, EngineInfo, EngineStats, GenerationEvent, Request

AcceptRule = Literal["coupled", "rejection"]
Progress = Callable[[str, float], None]
"""Called while loading with the stage's name and how much of the whole is done, 0 to 1."""


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

    def stream(self, prompt: Request | str | Iterable[Any], **options: Any) -> EventStream: ...

    def astream(self, prompt: Request | str | Iterable[Any], **options: Any) -> AsyncEventStream: ...

    def close(self) -> None:
        """Stop the work, fail what is still running with EngineClosed, free the memory. Can be called twice."""
        ...

    def generate(self, prompt: Request | str | Iterable[Any], **options: Any) -> Completion:
        """The whole answer at once."""
        with closing(self.stream(prompt, **options)) as events:
            return Completion.of(events)

    async def agenerate(self, prompt: Request | str | Iterable[Any], **options: Any) -> Completion:
        """The whole answer at once; cancelling the task cancels the request."""
        async with aclosing(self.astream(prompt, **options)) as events:
            return Completion.of([event async for event in events])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
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


def load(
    target: str | PathLike[str] = "bundled",
    draft: str | PathLike[str] = "auto",
    *,
    device: str = "auto",
    dtype: str = "auto",
    context: int | None = None,
    slots: int = 4,
    accept_rule: AcceptRule = "coupled",
    queue_limit: int = 256,
    prefix_cache_bytes: int | None = None,
    remember: int = 32_768,
    tool_format: str = "auto",
    trust_remote_code: bool = False,
    api_key: str | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Load a target model and what drafts for it.

    `target`: "bundled", a local folder, a hub id, or the base URL of an OpenAI-compatible server that runs one
    (http://host:8000/v1; `api_key` is for it alone; device, dtype, drafts, queue and caches are the server's).
    `draft`: "auto" (the bundled draft for the bundled target, lookup in the text so far for every other), "none",
    "lookup", a folder or a hub id (used together with lookup).
    `context`: tokens per slot, prompt and answer together (default: the model's own, at most 8192). `slots`: how many
    requests run at once; `queue_limit`: how many wait for a slot before EngineBusy. `prefix_cache_bytes`: memory for
    what earlier requests computed, for later ones that begin alike (default: as much as the slots take, and no more
    than half of a GPU's free memory; 0: only what free slots hold). `remember`: tokens of recent answers that later
    ones, whosever they are, may be drafted from (0: none). `tool_format`: how the model writes tool calls: "auto" (as
    its chat template shows), "none", "hermes", "llama3" or "mistral". Raises LoadError or InvalidRequest.
    """
    target, draft = _name("target", target), _name("draft", draft)
    if target.startswith(("http://", "https://")):
        from specdec.remote.load import load_remote

        return load_remote(
            target, draft, context=context, slots=slots, api_key=api_key, device=(device, "auto"),
            dtype=(dtype, "auto"), accept_rule=(accept_rule, "coupled"), trust_remote_code=(trust_remote_code, False),
            tool_format=(tool_format, "auto"),
        )  # fmt: skip
    if api_key is not None:
        raise InvalidRequest("api_key", "***", "none beside a target that is no URL")
    from specdec.decoding.assembly import load_local  # torch comes in here, and only here
    from specdec.threads.loading import in_thread

    return in_thread(partial(
        load_local, target, draft, device=device, dtype=dtype, context=context, slots=slots, accept_rule=accept_rule,
        queue_limit=queue_limit, prefix_cache_bytes=prefix_cache_bytes, remember=remember, tool_format=tool_format,
        trust_remote_code=trust_remote_code, progress=progress or (lambda _stage, _fraction: None),
    ))  # fmt: skip


def _name(field: str, value: str | PathLike[str]) -> str:
    if not isinstance(value, (str, PathLike)):
        raise InvalidRequest(
            field, value, 'a folder, a hub id, or a name such as "bundled", "auto" or "none"'
        )
    return fspath(value)
