"""Deltas of one round, put together."""

from __future__ import annotations

from collections.abc import Iterable

from specdec.types import ContentDelta, Delta, ReasoningDelta, ToolCallDelta


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """The same, with neighbours that continue each other as one."""
    result: list[Delta] = []
    for delta in deltas:
        one = _sum(result[-1], delta) if result else None
        if one is None:
            result.append(delta)
        else:
            result[-1] = one
    return result


def _sum(first: Delta, then: Delta) -> Delta | None:
    """Both as one, or None where they do not belong together."""
    match first, then:
        case ContentDelta(text), ContentDelta(more):
            return ContentDelta(text + more)
        case ReasoningDelta(text), ReasoningDelta(more):
            return ReasoningDelta(text + more)
        case ToolCallDelta(index, call_id, name, text), ToolCallDelta(same, None, None, more) if same == index:
            return ToolCallDelta(index, call_id, name, text + more)
    return None
