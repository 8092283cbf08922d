"""From LlamaIndex's messages to the engine's. What a text model cannot read is refused, by the block's name."""

from __future__ import annotations

import json
from collections.abc import Sequence

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from specdec.errors import InvalidRequest
from specdec.types import Message, Role, ToolCall

_ROLES: dict[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
_READABLE = (TextBlock, ThinkingBlock, ToolCallBlock, CachePoint)


def engine_messages(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """The chat as the engine takes it. Cache points are left out: the engine caches every prefix by itself."""
    if not isinstance(messages, Sequence) or not all(isinstance(m, ChatMessage) for m in messages):
        raise InvalidRequest("messages", messages, "a list of ChatMessage")
    chat: list[Message] = []
    for message in messages:
        for block in message.blocks:
            if not isinstance(block, _READABLE):
                expected = "text, thinking or tool_call: the model reads text alone"
                raise InvalidRequest("messages.blocks", block.block_type, expected)
        role, extra = _ROLES[message.role], message.additional_kwargs
        calls = tuple(
            ToolCall(
                block.tool_call_id or "",
                block.tool_name,
                given if isinstance(given := block.tool_kwargs, str) else json.dumps(given, ensure_ascii=False),
            )
            for block in message.blocks
            if isinstance(block, ToolCallBlock)
        )
        if not calls:  # older histories hold them here, in OpenAI's form
            older = {"role": "assistant", "content": "", "tool_calls": extra.get("tool_calls") or ()}
            calls = Message.of(older).tool_calls
        thoughts = [b.content or "" for b in message.blocks if isinstance(b, ThinkingBlock)]
        chat.append(
            Message(
                role=role,
                content=message.content if calls else message.content or "",
                name=extra.get("name"),
                tool_calls=calls,
                tool_call_id=extra.get("tool_call_id") if role == "tool" else None,
                reasoning="\n".join(thoughts) or None,
            )
        )
    return tuple(chat)
