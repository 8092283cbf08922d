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
            turn = replace(
                turn,
                content="\n".join(filter(None, (turn.content, message.content))),
                tool_calls=(*turn.tool_calls, *message.tool_calls),
                reasoning="\n".join(filter(None, (turn.reasoning, message.reasoning))) or None,
            )
            continue
        if turn:
            yield _finished(turn)
        turn = message
    if turn:
        yield _finished(turn)


def _finished(turn: Message) -> Message:
    return replace(turn, content=turn.content or None) if turn.tool_calls else turn
