"""What comes out of an engine: events, and what they add up to."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from specdec.types.chat import Message, ToolCall
from specdec.types.speculation import Origin, Round, SpecStats

FinishReason = Literal["stop", "length", "cancelled"]


def token_text(raw: bytes) -> str:
    """A token by itself, for display: bytes that are no text as OpenAI writes them, \\xf0\\x9f."""
    return raw.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One of the most likely tokens at a position. In `text` bytes that are no text by themselves are numbers."""

    id: int
    text: str
    logprob: float
    bytes: builtins.bytes
    """The token's own; they may be a part of a character."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer. `text` is what it added to the shown text."""

    id: int
    text: str
    origin: Origin
    logprob: float | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()
    bytes: builtins.bytes | None = None
    """Its own, where logprobs were asked for."""

    @property
    def own(self) -> TokenLogprob:
        """The token by itself, as `top_logprobs` tells of others; `text` waits for characters to be whole."""
        raw = self.text.encode() if self.bytes is None else self.bytes
        logprob = -math.inf if self.logprob is None else self.logprob
        return TokenLogprob(self.id, token_text(raw), logprob, raw)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request: `cached_tokens` of the prompt were not computed again, `reasoning_tokens` of the
    answer are within thoughts. None is what a server does not say."""

    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, from when the engine received the request."""

    queued: float | None
    """None where a server does not say."""
    ttft: float
    total: float

    def tokens_per_second(self, completion_tokens: int | None) -> float:
        """Decode speed, 1 / TPOT: the tokens after the first over the time after the first; 0 where there are none, or
        nobody counted them."""
        seconds, after = self.total - self.ttft, (completion_tokens or 0) - 1
        return after / seconds if after > 0 and seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """Text that is the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Text that the model thinks before its answer, without the template's marks."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of the `index`-th call. The first of each call has its `id` and `name`; `arguments` join to JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


Delta = ContentDelta | ReasoningDelta | ToolCallDelta


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended, and what it took."""

    reason: FinishReason
    usage: Usage
    timing: Timing
    stats: SpecStats
    seed: int
    stop: str | int | None = None
    """The stop string or token id that ended it."""


@dataclass(frozen=True, slots=True)
class GenerationEvent:
    """What one round added to an answer.

    `"".join(e.text)` over the events is the answer's text, and so is the join of the tokens' texts where a server tells
    its tokens. Text that may still turn into a stop string is held back, and its tokens with it. The last event, and
    only the last, has an `end`.
    """

    request_id: str
    text: str = ""
    tokens: tuple[Token, ...] = ()
    round: Round | None = None
    """None for the token that comes out of prefill and for the last flush."""
    deltas: tuple[Delta, ...] = ()
    """The same text as a chat's client reads it: content, reasoning and tool calls, the template's marks taken out, and
    no two neighbours of one kind. May lag behind `text` while a mark is incomplete."""
    end: Ending | None = None
    prefilled: float | None = None
    """How much of the prompt is computed, 0 to 1; only in an event of its own, and only if the request asked."""
    waiting: str | None = None
    """What a server says of a request while nothing comes; as `prefilled`."""


class Answer:
    """Adds up the events of one stream, as far as they have come."""

    def __init__(self) -> None:
        self.request_id = ""
        self.text = ""
        self.tokens: list[Token] = []
        self.content = ""
        self.reasoning = ""
        self.calls: dict[int, ToolCall] = {}
        """By index; the arguments of the last may be incomplete."""
        self.end: Ending | None = None

    def add(self, event: GenerationEvent) -> None:
        """What `event` brings."""
        self.request_id = event.request_id
        self.text += event.text
        self.tokens += event.tokens
        for delta in event.deltas:
            self.grow(delta)
        self.end = event.end or self.end

    def grow(self, delta: Delta) -> None:
        """What one delta brings."""
        if isinstance(delta, ContentDelta):
            self.content += delta.text
        elif isinstance(delta, ReasoningDelta):
            self.reasoning += delta.text
        else:
            call = self.calls.get(delta.index, ToolCall("", "", ""))
            self.calls[delta.index] = ToolCall(
                delta.id or call.id, delta.name or call.name, call.arguments + delta.arguments
            )

    @property
    def message(self) -> Message:
        """The answer as a turn of the chat."""
        text = self.content if self.content or not self.calls else None
        calls = tuple(self.calls.values())
        return Message("assistant", text, tool_calls=calls, reasoning=self.reasoning or None)

    @property
    def completion(self) -> Completion:
        """The whole of it, once it has ended."""
        assert self.end is not None
        return Completion(self.request_id, self.text, tuple(self.tokens), self.end, self.message)


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    request_id: str
    text: str
    tokens: tuple[Token, ...]
    end: Ending
    message: Message
    """The answer as a turn of the chat: content, reasoning and tool calls, the template's marks taken out."""

    @classmethod
    def of(cls, events: Iterable[GenerationEvent]) -> Completion:
        """The sum of a finished stream's events."""
        answer = Answer()
        for event in events:
            answer.add(event)
        return answer.completion

    @property
    def finish_reason(self) -> FinishReason:
        return self.end.reason

    @property
    def stop(self) -> str | int | None:
        return self.end.stop

    @property
    def usage(self) -> Usage:
        return self.end.usage

    @property
    def timing(self) -> Timing:
        return self.end.timing

    @property
    def stats(self) -> SpecStats:
        return self.end.stats

    @property
    def seed(self) -> int:
        return self.end.seed

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(t.id for t in self.tokens)

    @property
    def tokens_per_second(self) -> float:
        return self.timing.tokens_per_second(self.usage.completion_tokens)


def merged(deltas: Iterable[Delta]) -> tuple[Delta, ...]:
    """The same, with neighbours that continue each other as one."""
    result: list[Delta] = []
    for delta in deltas:
        match result and result[-1], delta:
            case ContentDelta(text), ContentDelta(more):
                result[-1] = ContentDelta(text + more)
            case ReasoningDelta(text), ReasoningDelta(more):
                result[-1] = ReasoningDelta(text + more)
            case ToolCallDelta(index, id_, name, text), ToolCallDelta(same, None, None, more) if same == index:
                result[-1] = ToolCallDelta(index, id_, name, text + more)
            case _:
                result.append(delta)
    return tuple(result)
