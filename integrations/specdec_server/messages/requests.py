"""From a messages request to the engine's Request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Grammar, Message, Request, ToolCall
from specdec_server.messages.schemas import (
    MessagesRequest,
    MessageTool,
    MessageToolChoice,
    MessageTurn,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from specdec_server.schemas import text_of
from specdec_server.turns import joined_turns


def message_request(body: MessagesRequest) -> Request:
    """Raises InvalidRequest."""
    system = [Message("system", text_of(body.system))] if body.system else []
    said = (message for number, turn in enumerate(body.messages) for message in _messages(turn, number))
    wanted = body.output_config.format if body.output_config else None
    choice = body.tool_choice
    return body.to_request(
        (*system, *joined_turns(said, "user", "assistant")),
        max_tokens=body.max_tokens,
        grammar=Grammar.json_schema(wanted.schema_) if wanted else None,
        tools=tuple(map(_function, body.tools or ())),
        tool_choice=_choice(choice) if choice else "auto",
        parallel_tool_calls=not (choice and choice.disable_parallel_tool_use),
    )


def check_last_turn(body: MessagesRequest) -> None:
    """Raises InvalidRequest where the answer should go on with text that is given."""
    if body.messages[-1].role == "assistant":
        raise InvalidRequest("messages", None, "a last turn that is not the assistant's: prefill is not supported")


def _choice(choice: MessageToolChoice) -> str:
    if choice.type != "tool":
        return "required" if choice.type == "any" else choice.type
    if choice.name is None:
        raise InvalidRequest("tool_choice.name", None, "the name of a tool, since the type is tool")
    return choice.name


def _function(tool: MessageTool) -> dict[str, Any]:
    """In OpenAI's form, as templates know tools."""
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    function |= tool.model_dump(include={"description", "strict"}, exclude_none=True)
    return {"type": "function", "function": function}


def _messages(turn: MessageTurn, number: int) -> Iterator[Message]:
    """Results of tools are messages of their own, before what a user says with them."""
    blocks = turn.blocks
    results = [block for block in blocks if isinstance(block, ToolResultBlock)]
    calls = tuple(
        ToolCall(block.id, block.name, json.dumps(block.input, ensure_ascii=False))
        for block in blocks
        if isinstance(block, ToolUseBlock)
    )
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    if results if turn.role == "assistant" else calls or thoughts:
        expected = "tool_use and thinking in the assistant's turns alone, and tool_result in the user's"
        raise InvalidRequest(f"messages.{number}.content", None, expected)
    for result in results:
        yield Message("tool", text_of(result.content or ""), tool_call_id=result.tool_use_id)
    if texts or not results:
        text = text_of(texts)
        reasoning = "\n".join(thoughts) or None
        yield Message(turn.role, text if text or not calls else None, tool_calls=calls, reasoning=reasoning)
