"""From a responses request to the engine's Request."""

from __future__ import annotations

from collections.abc import Iterator

from specdec.types import Message, Request, ToolCall
from specdec_server.responses.schemas import (
    InputCall,
    InputMessage,
    InputReasoning,
    ResponsesRequest,
    ToolChoiceFunction,
)
from specdec_server.schemas import format_grammar, text_of
from specdec_server.turns import joined_turns


def response_request(body: ResponsesRequest) -> Request:
    """Raises InvalidRequest."""
    grammar = None
    if body.text and (wanted := body.text.format):
        grammar = format_grammar(wanted.type, wanted.schema_, wanted.strict, "text.format.schema")
    functions = [tool.model_dump(exclude_none=True, exclude={"type"}) for tool in body.tools or ()]
    choice = body.tool_choice
    return body.to_request(
        # an assistant's turn is one, though its reasoning, text and calls come as items of their own
        tuple(joined_turns(_messages(body), "assistant")),
        max_tokens=body.max_output_tokens,
        grammar=grammar,
        prediction=body.prediction,
        tools=tuple({"type": "function", "function": function} for function in functions),
        tool_choice=choice.name if isinstance(choice, ToolChoiceFunction) else choice or "auto",
        parallel_tool_calls=body.parallel_tool_calls is not False,
    )


def _messages(body: ResponsesRequest) -> Iterator[Message]:
    if body.instructions:
        yield Message("system", body.instructions)
    if isinstance(body.input, str):
        yield Message("user", body.input)
        return
    for item in body.input:
        match item:
            case InputMessage():
                yield Message("system" if item.role == "developer" else item.role, text_of(item.content))
            case InputCall():
                yield Message("assistant", None, tool_calls=(ToolCall(item.call_id, item.name, item.arguments),))
            case InputReasoning():
                if item.content:  # thoughts that only their maker can read are none
                    yield Message("assistant", "", reasoning=text_of(item.content))
            case _:
                yield Message("tool", text_of(item.output), tool_call_id=item.call_id)
