"""A chat: its messages and the calls in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from specdec.errors import InvalidRequest

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made; `arguments` is JSON text, as APIs send it."""

    id: str
    name: str
    arguments: str

    @classmethod
    def of(cls, value: ToolCall | Mapping[str, Any]) -> ToolCall:
        """A call from itself, from an OpenAI-style dict, or from the function in one."""
        if isinstance(value, ToolCall):
            return value
        function = value.get("function", value) if isinstance(value, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequest("messages.tool_calls", value, "calls with an id and a function of name and arguments")
        arguments = function.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return cls(str(value.get("id", "")), function["name"], text)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    """What an assistant thought before its content, without the template's marks."""

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidRequest("messages.role", self.role, "one of " + ", ".join(get_args(Role)))
        calls_only = self.content is None and self.role == "assistant" and self.tool_calls
        if not isinstance(self.content, str) and not calls_only:
            raise InvalidRequest("messages.content", self.content, "text (an assistant's tool calls may do without)")

    @classmethod
    def of(cls, value: Message | Mapping[str, Any]) -> Message:
        """A message from itself or from an OpenAI-style dict."""
        if isinstance(value, Message):
            return value
        if not isinstance(value, Mapping) or "role" not in value:
            raise InvalidRequest("messages", value, "a Message or a dict with role and content")
        unknown = {k: v for k, v in value.items() if v and k not in {f.name for f in fields(cls)}}
        if unknown:
            expected = "role, content, name, tool_calls, tool_call_id and reasoning"
            raise InvalidRequest("messages", unknown, expected)
        calls = tuple(ToolCall.of(c) for c in value.get("tool_calls") or ())
        rest = {name: value.get(name) for name in ("content", "name", "tool_call_id", "reasoning")}
        return cls(value["role"], tool_calls=calls, **rest)


def check_answers(messages: Sequence[Message]) -> None:
    """Tool messages answer calls of the last assistant's turn before them."""
    calls: tuple[ToolCall, ...] = ()
    for before, message in zip((None, *messages), messages, strict=False):
        if message.role != "tool":
            continue
        if before is not None and before.role != "tool":
            calls = before.tool_calls
        if before is None or not calls:
            raise InvalidRequest("messages", message, "a tool message behind the assistant's call that it answers")
        known = {call.id for call in calls if call.id}
        if known and message.tool_call_id and message.tool_call_id not in known:
            expected = "the id of a call in the assistant's message before it: " + ", ".join(sorted(known))
            raise InvalidRequest("messages.tool_call_id", message.tool_call_id, expected)
