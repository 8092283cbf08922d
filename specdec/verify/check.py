"""What a check came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from specdec.types import Completion

Verdict = Literal["pass", "near-tie", "inconclusive", "fail"]
"""near-tie: the texts part where the target itself gives two tokens the same probability up to rounding."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    verdict: Verdict
    detail: str


def drafting(answers: Iterable[Completion]) -> str:
    """How much was put to the test."""
    answers = list(answers)
    drafted, accepted = sum(a.stats.drafted for a in answers), sum(a.stats.accepted for a in answers)
    return f"{sum(len(a.tokens) for a in answers)} tokens, accepted {accepted} of {drafted} drafted"
