"""From the chunks of one answer to GenerationEvents.

Tokens are counted by their ids, or by the usage at the end where a server sends no ids; never by chunks. `text` is a
chat's content as the server parsed it: its reasoning and its calls are in `deltas` alone, for no server sends their
raw text. A chunk's text stands on its tokens one by one where the server tells their texts (with logprobs), else on the
last of them. For a server that sends neither ids nor usage the text is kept, to have the server's tokenizer count it.
"""

from __future__ import annotations

import time
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import replace

from specdec.remote.chunks import CallPart, Choice, Chunk, Delta, Likely, Metrics, Timings, UsageChunk
from specdec.remote.figures import spec_stats
from specdec.remote.server import Server
from specdec.types import (
    ContentDelta,
    Ending,
    FinishReason,
    GenerationEvent,
    ReasoningDelta,
    Request,
    SpecStats,
    Speculation,
    Timing,
    Token,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from specdec.types import Delta as EventDelta

UNKNOWN_ID = -1
"""Of a likely token that was not taken: servers tell its text alone."""
_FINISHED: dict[str, FinishReason] = {"length": "length", "abort": "cancelled"}
"""All others (stop, tool_calls, content_filter, eos) are stops."""


class Reader:
    """Adds up one answer."""

    def __init__(self, request: Request, server: Server, seed: int) -> None:
        self.request, self._server, self._seed = request, server, seed
        self._start = time.perf_counter()
        self._first: float | None = None
        self._finish: FinishReason | None = None
        self._stop: str | int | None = None
        self._usage: UsageChunk | None = None
        self._metrics: Metrics | None = None
        self._timings: Timings | None = None
        self.tokens = 0
        """How many came with their ids."""
        self.delivered = False
        self._texts: list[str] = []

    @property
    def finished(self) -> bool:
        """Whether the answer came to its end."""
        return self._finish is not None

    def event(self, chunk: Chunk) -> GenerationEvent | None:
        """What this chunk adds to the answer, if anything."""
        self._usage = chunk.usage or self._usage
        self._metrics = chunk.metrics or self._metrics
        self._timings = chunk.timings or self._timings
        return self._event(chunk.choices[0]) if chunk.choices else None

    def _event(self, choice: Choice) -> GenerationEvent | None:
        if choice.finish_reason:
            self._finish = _FINISHED.get(choice.finish_reason, "stop")
            self._stop = choice.stop_reason
        delta = choice.delta or Delta(content=choice.text)
        text, deltas = delta.content or "", _deltas(delta)
        tokens = self._tokens(choice, text)
        if not (tokens or deltas):
            return None
        self.tokens += len(tokens)
        self._texts.append(text)
        self.delivered = True
        if self._first is None:
            self._first = time.perf_counter()
        return GenerationEvent(self.request.id, text, tokens, deltas=deltas)

    def _tokens(self, choice: Choice, text: str) -> tuple[Token, ...]:
        ids = choice.token_ids or ()
        likely = choice.logprobs.entries() if choice.logprobs else []
        if not ids and likely and all(entry.id is not None for entry in likely):
            ids = [entry.id for entry in likely if entry.id is not None]
        if not ids:
            return ()
        texts = _texts(len(ids), text, likely)
        if len(likely) != len(ids):
            return tuple(Token(i, t, "unknown") for i, t in zip(ids, texts, strict=True))
        return tuple(_scored(i, t, entry) for i, t, entry in zip(ids, texts, likely, strict=True))

    @property
    def uncounted(self) -> str | None:
        """The text of an answer whose tokens the server did not count."""
        return None if self.tokens or self._usage else "".join(self._texts)

    def count(self, tokens: int) -> None:
        """What somebody else counted."""
        self._usage = UsageChunk(completion_tokens=tokens)

    def last(self) -> GenerationEvent:
        """The end of the answer, with its figures."""
        end = time.perf_counter()
        usage = self._usage or UsageChunk()
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
        queued = (self._metrics.queue_time_ms if self._metrics else None) or 0.0
        return GenerationEvent(
            self.request.id,
            end=Ending(
                self._finish or "stop",
                Usage(usage.prompt_tokens, self.tokens or usage.completion_tokens or 0, cached or 0),
                Timing(queued / 1000, (self._first or end) - self._start, end - self._start),
                self._stats(usage),
                self._seed,
                self._stop,
            ),
        )

    def _stats(self, usage: UsageChunk) -> SpecStats:
        found = spec_stats(self._server, self._metrics, self._timings, usage.completion_tokens_details)
        off = self.request.speculative in ("off", 0) and not found.drafted and self._server.dialect.switch
        return replace(found, speculation=Speculation(why="requested")) if off else found


def _deltas(delta: Delta) -> tuple[EventDelta, ...]:
    found: list[EventDelta] = []
    if thought := delta.reasoning_content or delta.reasoning:
        found.append(ReasoningDelta(thought))
    if delta.content:
        found.append(ContentDelta(delta.content))
    found.extend(_call(part) for part in delta.tool_calls or ())
    return tuple(found)


def _call(part: CallPart) -> ToolCallDelta:
    return ToolCallDelta(part.index, part.id, part.function.name, part.function.arguments or "")


def _texts(count: int, text: str, likely: Sequence[Likely]) -> list[str]:
    decoder = getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(_raw(entry)) for entry in likely]
    return pieces if len(pieces) == count and "".join(pieces) == text else [*[""] * (count - 1), text]


def _scored(token: int, text: str, entry: Likely) -> Token:
    likely = entry.top_logprobs or []
    top = tuple(
        TokenLogprob(token if o.token == entry.token else _id(o), o.token, o.logprob or 0.0, _raw(o)) for o in likely
    )
    return Token(token, text, "unknown", entry.logprob, top, _raw(entry))


def _raw(entry: Likely) -> bytes:
    return entry.token.encode() if entry.bytes is None else bytes(entry.bytes)


def _id(likely: Likely) -> int:
    return UNKNOWN_ID if likely.id is None else likely.id
