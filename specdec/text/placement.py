"""Where the system messages of a chat may stand.

Templates differ: some take a system message anywhere, some only as the first, one or several, some not at all; they
raise an error, or leave it out in silence. Clients put them anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from specdec.types import Message


def placements(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The chat as it is, then with its system texts in other places, the nearest first: those at the start as one
    message; later ones in the user's message beside them, too; all as one message at the start; all with the user's."""
    yield messages
    systems = [m for m in messages if m.role == "system"]
    if not systems:
        return
    lead = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    first, rest = _merged(messages[:lead]), messages[lead:]
    ways: list[Sequence[Message]] = [
        messages,
        [*first, *rest],
        [*first, *_within_users(rest)],
        [*_merged(systems), *(m for m in messages if m.role != "system")],
        _within_users(messages),
    ]
    yield from (way for i, way in enumerate(ways) if i and list(way) not in map(list, ways[:i]))


def shows_systems(text: str, messages: Sequence[Message]) -> bool:
    """Whether a prompt has the text of every system message."""
    return all((m.content or "").strip() in text for m in messages if m.role == "system")


def _merged(messages: Sequence[Message]) -> list[Message]:
    return [Message("system", _joined(messages))] if messages else []


def _within_users(messages: Sequence[Message]) -> list[Message]:
    """System texts as a part of the user's texts around them, or as the user's where there are none."""
    out: list[Message] = []
    for moved, group in groupby(messages, lambda m: m.role in ("system", "user")):
        run = list(group)
        if moved and any(m.role == "system" for m in run):
            name = next((m.name for m in run if m.role == "user"), None)
            run = [Message("user", _joined(run), name)]
        out += run
    return out


def _joined(messages: Sequence[Message]) -> str:
    return "\n\n".join(m.content for m in messages if m.content)
