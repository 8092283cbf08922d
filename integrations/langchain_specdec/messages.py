"""LangChain's messages as the engine's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_specdec.errors import InvalidInput, translated
from specdec.types import Message, ToolCall

_ROLES = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant", ToolMessage: "tool"}
_REPEATED = (
    "tool_use",
    "tool_call",
    "tool_call_chunk",
    "invalid_tool_call",
    "function_call",
    "reasoning",
    "thinking",
    "redacted_thinking",
    "non_standard",
)
"""Blocks of an assistant's content that repeat its calls, or what only their provider can read."""


def as_messages(messages: Sequence[BaseMessage]) -> list[Message]:
    """The chat for an engine. Raises InvalidInput for what a text model cannot read."""
    chat: list[Message] = []
    for message in messages:
        roles: list[Any] = [message.role] if isinstance(message, ChatMessage) else []
        roles += [role for kind, role in _ROLES.items() if isinstance(message, kind)]
        if not roles:
            known = ", ".join(kind.__name__ for kind in _ROLES)
            raise InvalidInput(f"messages has a {type(message).__name__}; expected {known} or ChatMessage")
        blocks = [message.content] if isinstance(message.content, str) else message.content
        text = "\n".join(filter(None, (_text(block, message) for block in blocks)))
        calls, thoughts = list[ToolCall](), None
        if isinstance(message, AIMessage):
            for call in message.tool_calls:
                calls.append(ToolCall(call["id"] or "", call["name"], json.dumps(call["args"], ensure_ascii=False)))
            for cut in message.invalid_tool_calls:
                calls.append(ToolCall(cut["id"] or "", cut["name"] or "", cut["args"] or ""))
            thoughts = reasoning_of(message)
        content, answered = text if text or not calls else None, getattr(message, "tool_call_id", None)
        with translated():
            chat.append(Message(roles[0], content, message.name, tuple(calls), answered, thoughts))
    return chat


def _text(block: Any, message: BaseMessage) -> str:
    if isinstance(block, str):
        return block
    kind = block.get("type") if isinstance(block, dict) else type(block).__name__
    if isinstance(block, dict) and isinstance(block.get("text"), str) and kind in ("text", "input_text", "output_text"):
        return str(block["text"])
    if isinstance(message, AIMessage) and kind in _REPEATED:
        return ""
    if isinstance(message, ToolMessage) and isinstance(block, dict) and kind in (None, "json"):
        return json.dumps(block.get("json", block), ensure_ascii=False)
    raise InvalidInput(
        f"{message.type} message has content of type {kind!r}; expected text, which is all the model reads"
    )


def reasoning_of(message: AIMessage) -> str | None:
    """What it thought, as this package or LangChain's v1 content blocks keep it."""
    told = message.additional_kwargs.get("reasoning_content")
    if isinstance(told, str):
        return told
    blocks = message.content if isinstance(message.content, list) else []
    thoughts = [b.get("reasoning") for b in blocks if isinstance(b, dict) and b.get("type") == "reasoning"]
    return "\n".join(t for t in thoughts if isinstance(t, str)) or None
