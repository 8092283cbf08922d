"""From a chat completion request to the engine's Requests, one for each choice."""

from __future__ import annotations

from specdec.errors import InvalidRequest
from specdec.types import Message, Request, ToolCall
from specdec_server.chat.schemas import ChatCompletionRequest, NamedChatTool
from specdec_server.schemas import format_grammar, text_of


def chat_requests(body: ChatCompletionRequest) -> list[Request]:
    """Raises InvalidRequest."""
    if body.stream_options and not body.stream:
        raise InvalidRequest("stream_options", None, "none without stream")
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs", body.top_logprobs, "none without logprobs")
    messages = tuple(
        Message(
            "system" if message.role == "developer" else message.role,
            None if message.content is None else text_of(message.content),
            message.name,
            tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ()),
            message.tool_call_id,
            message.reasoning_content,
        )
        for message in body.messages
    )
    grammar = None
    if wanted := body.response_format:
        schema, strict = (wanted.json_schema.schema_, wanted.json_schema.strict) if wanted.json_schema else (None, None)
        grammar = format_grammar(wanted.type, schema, strict, "response_format.json_schema")
    choice, tools = body.tool_choice, tuple(tool.model_dump(exclude_none=True) for tool in body.tools or ())
    return [
        body.to_request(
            messages,
            number,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            grammar=grammar,
            prediction=text_of(body.prediction.content) if body.prediction else None,
            tools=tools,
            tool_choice=choice.function.name if isinstance(choice, NamedChatTool) else choice or "auto",
            parallel_tool_calls=body.parallel_tool_calls is not False,
        )
        for number in range(body.n or 1)
    ]
