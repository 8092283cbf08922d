"""The engine's answers as LangChain's messages and chunks.

What streams and what comes at once say the same. Usage, figures and everything else that is not text goes onto the
last chunk, once: merging chunks would add numbers up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCallChunk
from langchain_core.messages import ToolCall as LangChainCall
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from specdec.types import (
    Completion,
    ContentDelta,
    EngineInfo,
    GenerationEvent,
    ReasoningDelta,
    SpecStats,
    Timing,
    Token,
    TokenLogprob,
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
        self._arguments: dict[int, str] = {}
        """Of each call, as far as they have come."""

    def of(self, event: GenerationEvent) -> Iterator[ChatGenerationChunk]:
        """The end is a chunk of its own: what there is of calls in the last one is not looked at."""
        calls = [d for d in event.deltas if isinstance(d, ToolCallDelta)]
        for call in calls:
            self._arguments[call.index] = self._arguments.get(call.index, "") + call.arguments
        if event.finish_reason is not None:
            calls += self._spoiled()
        if calls or event.deltas or any(t.logprob is not None for t in event.tokens):
            yield ChatGenerationChunk(message=_part(event, calls))
        if event.finish_reason is not None:
            yield ChatGenerationChunk(message=self._end(event))

    def _end(self, event: GenerationEvent) -> AIMessageChunk:
        assert event.usage is not None
        return AIMessageChunk(
            content="",
            usage_metadata=usage_metadata(event.usage),
            response_metadata=figures(event, self._info, called=bool(self._arguments)),
            chunk_position="last",
        )

    def _spoiled(self) -> Iterable[ToolCallDelta]:
        """LangChain completes half arguments, as if they were whole: those of calls that were cut end so that it
        cannot, and the merged call is an invalid one."""
        for index, arguments in self._arguments.items():
            if object_of(arguments) is None:
                end = next(end for end in _ENDS if not _completed(arguments + end))
                yield ToolCallDelta(index, arguments=end)


def _part(event: GenerationEvent, calls: Iterable[ToolCallDelta]) -> AIMessageChunk:
    thought = "".join(d.text for d in event.deltas if isinstance(d, ReasoningDelta))
    return AIMessageChunk(
        content="".join(d.text for d in event.deltas if isinstance(d, ContentDelta)),
        tool_call_chunks=_call_chunks(calls),
        additional_kwargs={"reasoning_content": thought} if thought else {},
        response_metadata=_logprobs(event.tokens),
    )


def usage_metadata(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        input_token_details=InputTokenDetails(cache_read=usage.cached_tokens),
    )


def figures(answer: Completion | GenerationEvent, info: EngineInfo, *, called: bool = False) -> dict[str, Any]:
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
    arguments = object_of(call.arguments)
    if arguments is None:
        return invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error="the answer was cut")
    return tool_call(name=call.name, args=arguments, id=call.id)


def object_of(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, if it is a whole one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_ENDS = ("", "]", "}", '"]', '"}', '""]', '""}')
"""A bracket that closes nothing, outside of a text, inside of one, and behind a backslash in one."""


def _completed(arguments: str) -> bool:
    """Whether LangChain makes a call of them."""
    try:
        return not arguments or isinstance(parse_partial_json(arguments), dict)
    except (ValueError, RecursionError):
        return False


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
        _logprob(token.own) | {"top_logprobs": [_logprob(each) for each in token.top_logprobs]}
        for token in tokens
        if token.logprob is not None
    ]
    return {"logprobs": {"content": found}} if found else {}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}
