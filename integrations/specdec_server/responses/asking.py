"""From a response request to the engine's Request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Grammar, Message, Request, ToolCall
from specdec_server.common.fields import text_of
from specdec_server.responses.wire import (
    InputCall,
    InputItem,
    InputMessage,
    InputReasoning,
    NamedFunction,
    ResponseRequest,
    TextFormat,
)


def requests_of(body: ResponseRequest) -> tuple[list[Request], list[int]]:
    """The one request, and that it answers the one prompt. Raises InvalidRequest."""
    text_format = body.text.format if body.text else None
    request = Request(
        tuple(_messages(body)),
        body.params(body.max_output_tokens, None, _grammar(text_format), 0),
        body.speculation(),
        body.prediction,
        _tools(body),
        _tool_choice(body),
        body.parallel_tool_calls is not False,
        client=body.client,
    )
    return [request], [0]


def _messages(body: ResponseRequest) -> Iterator[Message]:
    if body.instructions:
        yield Message("system", body.instructions)
    if isinstance(body.input, str):
        yield Message("user", body.input)
        return
    waiting: Message | None = None
    """The assistant's turn so far: its reasoning, text and calls come as items of their own."""
    for item in body.input:
        message = _message(item)
        if message.role == "assistant":
            waiting = _joined(waiting, message) if waiting else message
            continue
        if waiting:
            yield _finished(waiting)
            waiting = None
        yield message
    if waiting:
        yield _finished(waiting)


def _message(item: InputItem) -> Message:
    match item:
        case InputMessage():
            return Message("system" if item.role == "developer" else item.role, text_of(item.content))
        case InputCall():
            return Message("assistant", None, tool_calls=(ToolCall(item.call_id, item.name, item.arguments),))
        case InputReasoning():
            return Message("assistant", "", reasoning=text_of(item.content or []))
        case _:
            return Message("tool", text_of(item.output), tool_call_id=item.call_id)


def _joined(first: Message, then: Message) -> Message:
    return replace(
        first,
        content="\n".join(filter(None, (first.content, then.content))),
        tool_calls=(*first.tool_calls, *then.tool_calls),
        reasoning="\n".join(filter(None, (first.reasoning, then.reasoning))) or None,
    )


def _finished(message: Message) -> Message:
    return replace(message, content=message.content or None) if message.tool_calls else message


def _grammar(wanted: TextFormat | None) -> Grammar | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Grammar.json_object()
    if wanted.schema_ is None:
        raise InvalidRequest("text.format.schema", None, "a schema, since the type is json_schema")
    return Grammar.json_schema(wanted.schema_, strict=bool(wanted.strict))


def _tools(body: ResponseRequest) -> tuple[Mapping[str, Any], ...]:
    functions = [tool.model_dump(exclude_none=True, exclude={"type"}) for tool in body.tools or ()]
    return tuple({"type": "function", "function": function} for function in functions)


def _tool_choice(body: ResponseRequest) -> str:
    choice = body.tool_choice
    if choice is None:
        return "auto"
    return choice.name if isinstance(choice, NamedFunction) else choice
