"""Events as engines make them, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specdec.types import ContentDelta, Ending, GenerationEvent, Origin, Round, SpecStats, Timing, Token, Usage


def token(text: str, origin: Origin = "plain", number: int = 1, logprob: float | None = None) -> Token:
    return Token(number, text, origin, logprob)


def event(
    tokens: Sequence[Token],
    drafted: Sequence[int] = (),
    accepted: int = 0,
    *,
    last: bool = False,
    drafter: str | None = None,
) -> GenerationEvent:
    """One round; the last one with all that a last event has."""
    text = "".join(t.text for t in tokens)
    round = Round(drafter or ("model" if drafted else None), tuple(drafted), accepted, 0.001, 0.002)
    event = GenerationEvent("x", text, tuple(tokens), round, deltas=(ContentDelta(text),))
    if not last:
        return event
    return replace(event, end=Ending("stop", Usage(7, 9, 3), Timing(0.0, 0.5, 1.5), SpecStats(1), 11))
