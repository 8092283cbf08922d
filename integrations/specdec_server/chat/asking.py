"""From a chat request to the engine's Requests, one for each choice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Grammar, Message, Request, ToolCall
from specdec_server.chat.wire import ChatMessage, ChatRequest, NamedTool, ResponseFormat, Tool
from specdec_server.common.fields import text_of


def requests_of(body: ChatRequest) -> tuple[list[Request], list[int]]:
    """The requests, and the number of the prompt that each answers: the one. Raises InvalidRequest."""
    _check(body)
    messages = tuple(_message(m) for m in body.messages)
    grammar = _grammar(body.response_format)
    max_tokens = body.max_completion_tokens or body.max_tokens
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    requests = [
        Request(
            messages,
            body.params(max_tokens, logprobs, grammar, choice),
            body.speculation(),
            text_of(body.prediction.content) if body.prediction else None,
            _tools(body.tools),
            _tool_choice(body),
            body.parallel_tool_calls is not False,
            client=body.client,
        )
        for choice in range(body.n or 1)
    ]
    return requests, [0] * len(requests)


def _check(body: ChatRequest) -> None:
    if body.stream_options and not body.stream:
        raise InvalidRequest("stream_options", None, "none without stream")
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs", body.top_logprobs, "none without logprobs")


def _message(message: ChatMessage) -> Message:
    calls = tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ())
    return Message(
        "system" if message.role == "developer" else message.role,
        None if message.content is None else text_of(message.content),
        message.name,
        calls,
        message.tool_call_id,
        message.reasoning_content,
    )


def _grammar(wanted: ResponseFormat | None) -> Grammar | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Grammar.json_object()
    if wanted.json_schema is None:
        raise InvalidRequest("response_format.json_schema", None, "a schema, since the type is json_schema")
    schema, strict = wanted.json_schema.schema_, bool(wanted.json_schema.strict)
    return Grammar.json_schema(json.dumps(schema) if isinstance(schema, bool) else schema, strict=strict)


def _tools(tools: list[Tool] | None) -> tuple[Mapping[str, Any], ...]:
    return tuple(tool.model_dump(exclude_none=True) for tool in tools or ())


def _tool_choice(body: ChatRequest) -> str:
    choice = body.tool_choice
    if choice is None:
        return "auto"
    return choice.function.name if isinstance(choice, NamedTool) else choice
