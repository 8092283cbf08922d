"""The engine's answers as LangChain's messages and chunks.

What streams and what comes at once say the same. Usage, figures and everything else that is not text goes onto the
last chunk, once: merging chunks would add numbers up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from specdec import frameworks
from specdec.types import Answer, Completion, Ending, EngineInfo, GenerationEvent, Token, TokenLogprob, ToolCallDelta


def chat_result(completion: Completion, info: EngineInfo) -> ChatResult:
    """A whole answer."""
    said, whole, cut = completion.message, list[ToolCall](), list[InvalidToolCall]()
    for call in said.tool_calls:
        arguments = object_of(call.arguments)
        if arguments is not None:
            whole.append(tool_call(name=call.name, args=arguments, id=call.id))
        else:
            cut.append(invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error="the answer was cut"))
    message = AIMessage(
        content=said.content or "",
        additional_kwargs={"reasoning_content": said.reasoning} if said.reasoning else {},
        tool_calls=whole,
        invalid_tool_calls=cut,
        usage_metadata=usage_metadata(completion.end),
        response_metadata=figures(completion.end, info, called=bool(said.tool_calls)) | _logprobs(completion.tokens),
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


class Chunks:
    """Turns the events of one answer into chunks."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._answer = Answer()

    def of(self, event: GenerationEvent) -> Iterator[ChatGenerationChunk]:
        """The end is a chunk of its own: what there is of calls in the last one is not looked at."""
        new, logprobs = Answer(), _logprobs(event.tokens)
        for delta in event.deltas:
            new.grow(delta)
            self._answer.grow(delta)
        for index, call in self._answer.calls.items() if event.end else ():
            if object_of(call.arguments) is None:
                new.grow(ToolCallDelta(index, arguments=_spoiling(call.arguments)))
        if event.deltas or new.calls or logprobs:
            calls = [
                tool_call_chunk(name=call.name or None, args=call.arguments, id=call.id or None, index=index)
                for index, call in new.calls.items()
            ]
            yield _chunk(
                content=new.content,
                tool_call_chunks=calls,
                additional_kwargs={"reasoning_content": new.reasoning} if new.reasoning else {},
                response_metadata=logprobs,
            )
        if event.end:
            yield _chunk(
                content="",
                usage_metadata=usage_metadata(event.end),
                response_metadata=figures(event.end, self._info, called=bool(self._answer.calls)),
                chunk_position="last",
            )


def _chunk(**fields: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(**fields))


def usage_metadata(end: Ending) -> UsageMetadata | None:
    """None where a server does not say what the prompt and the answer took; a detail that it does not say is left
    out."""
    prompt, written = end.usage.prompt_tokens, end.usage.completion_tokens
    cached, reasoned = end.usage.cached_tokens, end.usage.reasoning_tokens
    if prompt is None or written is None:
        return None
    return UsageMetadata(
        input_tokens=prompt,
        output_tokens=written,
        total_tokens=prompt + written,
        input_token_details=InputTokenDetails() if cached is None else InputTokenDetails(cache_read=cached),
        output_token_details=OutputTokenDetails() if reasoned is None else OutputTokenDetails(reasoning=reasoned),
    )


def figures(end: Ending, info: EngineInfo, *, called: bool = False) -> dict[str, Any]:
    """Response metadata of a finished answer."""
    found = frameworks.figures(end)
    return {
        "model_name": info.target,
        "model_provider": "specdec",
        "finish_reason": "tool_calls" if called and end.reason == "stop" else end.reason,
        "seed": end.seed,
        "timing": found["timing"],
        "speculative": {"draft": info.draft, **found["speculative"]},
    }


def object_of(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, if it is a whole one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_ENDS = ("", "]", "}", '"]', '"}', '""]', '""}')
"""A bracket that closes nothing, outside of a text, inside of one, and behind a backslash in one."""


def _spoiling(arguments: str) -> str:
    """LangChain completes half arguments, as if they were whole: behind this it cannot, and the merged call is an
    invalid one."""
    for end in _ENDS:
        try:
            if arguments + end and not isinstance(parse_partial_json(arguments + end), dict):
                return end
        except (ValueError, RecursionError):
            return end
    raise AssertionError(f"LangChain makes a call of {arguments!r} whatever comes behind it")


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
