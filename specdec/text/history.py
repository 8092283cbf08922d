"""How chat templates want what an assistant did before: under which name its thoughts, and how many calls a turn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from specdec.types import Message

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Names of the field that templates read it from; most read the first."""


def thought_field(template: str) -> str | None:
    """The name under which a template reads what an assistant thought; None where that is a part of the content, as in
    Mistral's."""
    if "['type'] == 'thinking'" in template:
        return None
    return next((name for name in _THOUGHTS if re.search(rf"[.'\"]{name}\b", template)), _THOUGHTS[0])


def one_call_each(messages: Sequence[Message]) -> Iterator[Message]:
    """A turn of several calls as one turn for each, with its results behind it."""
    left = list(messages)
    while left:
        turn = left.pop(0)
        if len(turn.tool_calls) < 2:
            yield turn
            continue
        results = list(takewhile(lambda message: message.role == "tool", left))
        del left[: len(results)]
        for number, call in enumerate(turn.tool_calls):
            yield Message("assistant", tool_calls=(call,)) if number else replace(turn, tool_calls=(call,))
            own = [result for result in results if result.tool_call_id == call.id]
            yield from own
            results = [result for result in results if result not in own]
        yield from results


def thinking_aloud(messages: Sequence[Message]) -> list[Message]:
    """What an assistant said before its calls as the end of its thought: some templates take one of both."""
    return [
        replace(message, content=None, reasoning=f"{message.reasoning}\n\n{message.content}")
        if message.tool_calls and message.content and message.reasoning
        else message
        for message in messages
    ]
