"""Turns that a client sends in several pieces as one each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from specdec.types import Message, Role


def joined_turns(messages: Iterable[Message], *roles: Role) -> Iterator[Message]:
    """Neighbours of the same role, one of `roles`, as one."""
    turn: Message | None = None
    for message in messages:
        if turn and turn.role == message.role and turn.role in roles:
            turn = _joined(turn, message)
            continue
        if turn:
            yield _finished(turn)
        turn = message
    if turn:
        yield _finished(turn)


def _joined(first: Message, second: Message) -> Message:
    return replace(
        first,
        content="\n".join(filter(None, (first.content, second.content))),
        tool_calls=(*first.tool_calls, *second.tool_calls),
        reasoning="\n".join(filter(None, (first.reasoning, second.reasoning))) or None,
    )


def _finished(turn: Message) -> Message:
    return replace(turn, content=turn.content or None) if turn.tool_calls else turn
