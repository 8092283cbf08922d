"""The values every part of the world is made of.

Contract: a `Task` is one exchange or a few that belong together; `quotes` are strings that must occur in what
the user or a tool said before, so a test can hold every answer to its context. A `Sample` is one training record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

Json = dict[str, Any]


class Message(TypedDict):
    """One chat message, in the shape that chat templates take."""

    role: str
    content: str | None
    tool_calls: NotRequired[list[Json]]


@dataclass(frozen=True)
class Task:
    """A user's wish and its answer; `follow` holds further turns over the same context."""

    kind: str
    user: str
    answer: str
    follow: tuple[tuple[str, str], ...] = ()
    quotes: tuple[str, ...] = ()
    system: str | None = None

    def turns(self) -> list[Message]:
        """The task as chat messages, without the system turn."""
        pairs = ((self.user, self.answer), *self.follow)
        return [m for u, a in pairs for m in (say("user", u), say("assistant", a))]


@dataclass(frozen=True)
class Sample:
    """One training record: a chat (with tools or without), or plain text when `messages` is empty."""

    kind: str
    messages: list[Message] = field(default_factory=list)
    tools: list[Json] = field(default_factory=list)
    text: str = ""
    quotes: tuple[str, ...] = ()


def say(role: str, content: str | None) -> Message:
    """A message with words in it."""
    return {"role": role, "content": content}
