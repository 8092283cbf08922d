"""The engine's answers as LangChain's messages and chunks.

What streams and what comes at once say the same. Usage, figures and everything else that is not text goes onto the
last chunk, once: merging chunks would add numbers up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCallChunk
from langchain_core.messages import ToolCall as LangChainCall
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from specdec.types import (
    Completion,
    ContentDelta,
    EngineInfo,
    GenerationEvent,
    ReasoningDelta,
    SpecStats,
    Timing,
    Token,
    ToolCall,
    ToolCallDelta,
    Usage,
)


def chat_result(completion: Completion, info: EngineInfo) -> ChatResult:
    """A whole answer."""
    said = completion.message
    calls = [_call(call) for call in said.tool_calls]
    message = AIMessage(
        content=said.content or "",
        additional_kwargs={"reasoning_content": said.reasoning} if said.reasoning else {},
        tool_calls=[call for call in calls if call["type"] == "tool_call"],
        invalid_tool_calls=[call for call in calls if call["type"] == "invalid_tool_call"],
        usage_metadata=usage_metadata(completion.usage),
        response_metadata=figures(completion, info, called=bool(calls)) | _logprobs(completion.tokens),
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


class Chunks:
    """Turns the events of one answer into chunks."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._called = False

    def of(self, event: GenerationEvent) -> ChatGenerationChunk | None:
        """None where an event has nothing to show."""
        calls = [d for d in event.deltas if isinstance(d, ToolCallDelta)]
        self._called = self._called or bool(calls)
        if not (event.deltas or event.finish_reason or any(t.logprob is not None for t in event.tokens)):
            return None
        message = AIMessageChunk(
            content="".join(d.text for d in event.deltas if isinstance(d, ContentDelta)),
            tool_call_chunks=_call_chunks(calls),
        )
        if thought := "".join(d.text for d in event.deltas if isinstance(d, ReasoningDelta)):
            message.additional_kwargs = {"reasoning_content": thought}
        message.response_metadata = _logprobs(event.tokens)
        if event.finish_reason is not None:
            assert event.usage is not None
            message.usage_metadata = usage_metadata(event.usage)
            message.response_metadata |= figures(event, self._info, called=self._called)
            message.chunk_position = "last"
        return ChatGenerationChunk(message=message)


def usage_metadata(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        input_token_details=InputTokenDetails(cache_read=usage.cached_tokens),
    )


def figures(
    answer: Completion | GenerationEvent, info: EngineInfo, *, called: bool = False
) -> dict[str, Any]:
    """Response metadata of a finished answer."""
    assert answer.usage is not None
    assert answer.timing is not None
    assert answer.stats is not None
    return {
        "model_name": info.target,
        "model_provider": "specdec",
        "finish_reason": "tool_calls" if called and answer.finish_reason == "stop" else answer.finish_reason,
        "seed": answer.seed,
        "timing": _timing(answer.timing, answer.usage),
        "speculative": _speculative(answer.stats, info),
    }


def _timing(timing: Timing, usage: Usage) -> dict[str, float]:
    return {
        "queued": timing.queued,
        "ttft": timing.ttft,
        "total": timing.total,
        "tokens_per_second": timing.tokens_per_second(usage.completion_tokens),
    }


def _speculative(stats: SpecStats, info: EngineInfo) -> dict[str, Any]:
    return {
        "draft": info.draft,
        "rounds": stats.rounds,
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "acceptance_rate": stats.acceptance_rate,
        "acceptance_length": stats.acceptance_length,
        "off_reason": stats.off_reason,
    }


def _call(call: ToolCall) -> LangChainCall | InvalidToolCall:
    arguments = _object(call.arguments)
    if arguments is None:
        return invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error="the answer was cut")
    return tool_call(name=call.name, args=arguments, id=call.id)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _call_chunks(deltas: Iterable[ToolCallDelta]) -> list[ToolCallChunk]:
    """One for each call: those in one message are not merged, and one without a name would be a call without one."""
    chunks: dict[int, ToolCallChunk] = {}
    for delta in deltas:
        chunk = chunks.setdefault(
            delta.index, tool_call_chunk(name=delta.name, args="", id=delta.id, index=delta.index)
        )
        chunk["args"] = (chunk["args"] or "") + delta.arguments
    return list(chunks.values())


def _logprobs(tokens: Iterable[Token]) -> dict[str, Any]:
    """In OpenAI's form; empty where none were asked for."""
    found = [
        {
            "token": token.text,
            "logprob": token.logprob,
            "bytes": list(token.text.encode()),
            "top_logprobs": [
                {"token": t.text, "logprob": t.logprob, "bytes": list(t.text.encode())}
                for t in token.top_logprobs
            ],
        }
        for token in tokens
        if token.logprob is not None
    ]
    return {"logprobs": {"content": found}} if found else {}
