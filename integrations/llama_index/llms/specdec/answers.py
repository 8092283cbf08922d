"""From the engine's events to LlamaIndex's responses.

An `Answer` is the answer so far. Its responses hold all of it, as the framework expects of every chunk of a stream; the
last one also has `raw` (usage, why it ended, seed) and `additional_kwargs` (token counts, speed, what speculation did).
Until then `raw` is None.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from llama_index.llms.specdec.tools import parsed
from specdec.types import (
    ContentDelta,
    GenerationEvent,
    ReasoningDelta,
    SpecStats,
    Timing,
    Token,
    ToolCallDelta,
    Usage,
)


class Answer:
    """The sum of the events of one request."""

    def __init__(self) -> None:
        self._content = self._reasoning = ""
        self._fresh_content: str | None = None
        self._fresh_reasoning: str | None = None
        self._calls: dict[int, _Call] = {}
        self._tokens: list[Token] = []
        self._last: GenerationEvent | None = None

    def add(self, event: GenerationEvent) -> bool:
        """Take an event in; whether there is anything new to show."""
        content = "".join(d.text for d in event.deltas if isinstance(d, ContentDelta))
        reasoning = "".join(d.text for d in event.deltas if isinstance(d, ReasoningDelta))
        for delta in event.deltas:
            if isinstance(delta, ToolCallDelta):
                self._calls.setdefault(delta.index, _Call()).add(delta)
        self._fresh_content, self._fresh_reasoning = content, reasoning
        self._content += content
        self._reasoning += reasoning
        self._tokens += event.tokens
        if event.finish_reason:
            self._last = event
        return bool(event.deltas or event.finish_reason)

    def told(self) -> Self:
        """The same, with nothing new in it."""
        self._fresh_content = self._fresh_reasoning = None
        return self

    def chat(self) -> ChatResponse:
        """As an assistant's message."""
        calls = [call.openai() for call in self._calls.values()]
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=self._blocks(),
            additional_kwargs={"tool_calls": calls} if calls else {},
        )
        return ChatResponse(
            message=message,
            delta=self._fresh_content,
            raw=self._raw(),
            logprobs=self._logprobs(),
            additional_kwargs=self._figures(),
        )

    def completion(self) -> CompletionResponse:
        """As text."""
        return CompletionResponse(
            text=self._content,
            delta=self._fresh_content,
            raw=self._raw(),
            logprobs=self._logprobs(),
            additional_kwargs=self._figures(),
        )

    def _blocks(self) -> list[ContentBlock]:
        blocks: list[ContentBlock] = []
        if self._reasoning:
            blocks.append(ThinkingBlock(content=self._reasoning))
        if self._content or not self._calls:
            blocks.append(TextBlock(text=self._content))
        return blocks + [call.block() for call in self._calls.values()]

    def _raw(self) -> dict[str, Any] | None:
        last = self._last
        if last is None or last.usage is None:
            return None
        called = self._calls and last.finish_reason == "stop"
        return {
            "id": last.request_id,
            "finish_reason": "tool_calls" if called else last.finish_reason,
            "stop": last.stop,
            "seed": last.seed,
            "usage": _counts(last.usage) | {"prompt_tokens_details": {"cached_tokens": last.usage.cached_tokens}},
        }

    def _figures(self) -> dict[str, Any]:
        thinking = {"thinking_delta": self._fresh_reasoning} if self._fresh_reasoning else {}
        last = self._last
        if last is None or last.usage is None or last.timing is None or last.stats is None:
            return thinking
        return {
            **thinking,
            **_counts(last.usage),
            "timing": _timing(last.timing, last.usage),
            "speculative": _speculative(last.stats),
        }

    def _logprobs(self) -> list[list[LogProb]] | None:
        """For each token its own logprob, then those of the most likely ones; only with the whole answer."""
        if self._last is None or not any(token.logprob is not None for token in self._tokens):
            return None
        return [_logprobs(token) for token in self._tokens]


class _Call:
    """One tool call, as far as it has come."""

    def __init__(self) -> None:
        self.id = self.name = self.arguments = ""

    def add(self, delta: ToolCallDelta) -> None:
        self.id = delta.id or self.id
        self.name = delta.name or self.name
        self.arguments += delta.arguments

    def block(self) -> ToolCallBlock:
        """Arguments that are not a whole JSON object yet stay text."""
        whole = parsed(self.arguments, partial=False)
        kwargs = self.arguments if whole is None else whole
        return ToolCallBlock(tool_call_id=self.id, tool_name=self.name, tool_kwargs=kwargs)

    def openai(self) -> dict[str, Any]:
        """The form in which the framework's function-calling programs look for it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


def _counts(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _timing(timing: Timing, usage: Usage) -> dict[str, float]:
    speed = timing.tokens_per_second(usage.completion_tokens)
    return asdict(timing) | {"tokens_per_second": speed}


def _speculative(stats: SpecStats) -> dict[str, Any]:
    return {
        "rounds": stats.rounds,
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "acceptance_rate": stats.acceptance_rate,
        "acceptance_length": stats.acceptance_length,
        "drafters": {d.drafter: {"drafted": sum(d.drafted), "accepted": sum(d.accepted)} for d in stats.drafters},
        "off_reason": stats.off_reason,
    }


def _logprobs(token: Token) -> list[LogProb]:
    return [LogProb(token=t.text, logprob=t.logprob, bytes=list(t.bytes)) for t in (token.own, *token.top_logprobs)]
