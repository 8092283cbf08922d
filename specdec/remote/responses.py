"""From the chunks of one answer to GenerationEvents.

Tokens are counted by their ids, or by the usage at the end where a server sends no ids; never by chunks. `text` is a
chat's content as the server parsed it: its reasoning and its calls are in `deltas` alone, for no server sends their
raw text. A chunk's text stands on its tokens one by one where the server tells their texts (with logprobs), else on the
last of them. For a server that sends neither ids nor usage the text is kept, to have the server's tokenizer count it.
"""

from __future__ import annotations

import math
import time
from codecs import getincrementaldecoder
from dataclasses import replace

from specdec.remote.schemas import Chunk, StreamedChoice, StreamedDelta, StreamedMetrics, StreamedTimings, StreamedUsage
from specdec.remote.server import ServerInfo
from specdec.remote.stats import spec_stats
from specdec.types import (
    ContentDelta,
    Delta,
    Ending,
    FinishReason,
    GenerationEvent,
    ReasoningDelta,
    Request,
    Speculation,
    Timing,
    Token,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    merged,
)

_APART = 0.001
"""Seconds between two pieces of an answer: what comes faster was held back, and came as one."""
UNKNOWN_ID = -1
"""Of a likely token that was not taken: servers tell its text alone."""
_FINISHED: dict[str, FinishReason] = {"length": "length", "abort": "cancelled"}
"""All others (stop, tool_calls, content_filter, eos) are stops."""


class ResponseReader:
    """Adds up one answer."""

    def __init__(self, request: Request, server: ServerInfo, seed: int) -> None:
        self._request, self._server, self._seed = request, server, seed
        self._start = time.perf_counter()
        self._first: float | None = None
        self._pieces, self._latest = 0, -math.inf
        self._finish: FinishReason | None = None
        self._stop: str | int | None = None
        self._usage: StreamedUsage | None = None
        self._metrics: StreamedMetrics | None = None
        self._timings: StreamedTimings | None = None
        self._texts: list[str] = []
        self._letters = 0
        self.tokens = 0
        """How many came with their ids."""

    @property
    def delivered(self) -> bool:
        """Whether anything of the answer came."""
        return self._first is not None

    @property
    def received(self) -> str:
        """How much came: in tokens, if they come with their ids."""
        return f"{self.tokens} tokens" if self.tokens or not self.delivered else f"{self._letters:,} characters"

    @property
    def finished(self) -> bool:
        """Whether the answer came to its end."""
        return self._finish is not None

    def event(self, chunk: Chunk) -> GenerationEvent | None:
        """What this chunk adds to the answer, if anything."""
        self._usage = chunk.usage or self._usage
        self._metrics = chunk.metrics or self._metrics
        self._timings = chunk.timings or self._timings
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        if choice.finish_reason:
            self._finish = _FINISHED.get(choice.finish_reason, "stop")
            self._stop = choice.stop_reason
        delta = choice.delta or StreamedDelta(content=choice.text)
        text, deltas = delta.content or "", list[Delta]()
        if thought := delta.reasoning_content or delta.reasoning:
            deltas.append(ReasoningDelta(thought))
        if text:
            deltas.append(ContentDelta(text))
        for call in delta.tool_calls or ():
            deltas.append(ToolCallDelta(call.index, call.id, call.function.name, call.function.arguments or ""))
        tokens = _tokens(choice, text)
        if not (tokens or deltas):
            return None
        self.tokens += len(tokens)
        self._texts.append(text)
        self._letters += len(text) + len(thought or "")
        now = time.perf_counter()
        if now - self._latest > _APART:
            self._pieces, self._latest = self._pieces + 1, now
        self._first = self._first or now
        return GenerationEvent(self._request.id, text, tokens, deltas=merged(deltas))

    @property
    def uncounted(self) -> str | None:
        """The text of an answer whose tokens the server did not count."""
        return None if self.tokens or self._usage else "".join(self._texts)

    def count(self, tokens: int) -> None:
        """What somebody else counted."""
        self._usage = StreamedUsage(completion_tokens=tokens)

    def last(self) -> GenerationEvent:
        """The end of the answer, with its figures."""
        end, request = time.perf_counter(), self._request
        usage = self._usage or StreamedUsage()
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
        reasoned = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None
        # a whole has no speed, nor has a call of which the name came first and then the rest: where tokens come without
        # ids, a piece may be any number of them
        streamed = self._pieces > (1 if self.tokens else 2)
        first = (self._first if self._first and streamed else end) - self._start
        queued = self._metrics.queue_time_ms if self._metrics else None  # by the server's own clock
        stats = spec_stats(self._server, self._metrics, self._timings, usage.completion_tokens_details)
        if request.speculative in ("off", 0) and not stats.drafted and self._server.dialect.switch:
            stats = replace(stats, speculation=Speculation(why="requested"))
        ending = Ending(
            self._finish or "stop",
            Usage(usage.prompt_tokens, self.tokens or usage.completion_tokens, cached, reasoned),
            Timing(None if queued is None else min(queued / 1000, first), first, end - self._start),
            stats,
            self._seed,
            self._stop,
        )
        return GenerationEvent(request.id, end=ending)


def _tokens(choice: StreamedChoice, text: str) -> tuple[Token, ...]:
    likely = choice.logprobs.entries() if choice.logprobs else []
    ids = choice.token_ids or [entry.id for entry in likely if entry.id is not None]
    if not ids or (not choice.token_ids and len(ids) != len(likely)):
        return ()
    decoder = getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(entry.raw) for entry in likely]
    if len(texts) != len(ids) or "".join(texts) != text:
        texts = [*[""] * (len(ids) - 1), text]
    if len(likely) != len(ids):
        return tuple(Token(i, t, "unknown") for i, t in zip(ids, texts, strict=True))
    tokens = []
    for i, shown, entry in zip(ids, texts, likely, strict=True):
        top = []
        for other in entry.top_logprobs or ():
            known = i if other.token == entry.token else other.id
            logprob = TokenLogprob(UNKNOWN_ID if known is None else known, other.token, other.logprob or 0.0, other.raw)
            top.append(logprob)
        tokens.append(Token(i, shown, "unknown", entry.logprob, tuple(top), entry.raw))
    return tuple(tokens)
