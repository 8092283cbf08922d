"""What speculation did, and what was decided about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

Origin = Literal["accepted", "recovered", "bonus", "plain", "unknown"]
"""Where a token came from: an accepted draft; the target's own token after a rejected draft; the target's own
token after a fully accepted draft; the target's own token in a round without drafts; a server that does not say."""


@dataclass(frozen=True, slots=True)
class Round:
    """One verify round of one sequence: what was drafted, by whom, and how long it took (seconds)."""

    drafter: str | None
    drafted: tuple[int, ...]
    accepted: int
    draft_seconds: float
    verify_seconds: float
    shared_by: int = 1
    """How many sequences shared the round."""
    rejected: tuple[str, ...] = ()
    """The texts of the drafts after the accepted ones, each by itself, for display. Empty where nobody knows them."""


@dataclass(frozen=True, slots=True)
class DrafterStats:
    """One drafter's share of an answer: how often each position was drafted, accepted, and tested."""

    drafter: str
    drafted: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()
    tested: tuple[int, ...] = ()
    """How often a draft stood at the position and all before it were accepted: a draft behind a rejected one was never
    looked at, and says nothing about its position. Empty where only sums are known."""

    @classmethod
    def of(cls, round: Round, times: int = 1) -> DrafterStats:
        """One round in which something was drafted, or several alike."""
        positions = range(len(round.drafted))
        return cls(
            round.drafter or "",
            tuple(times for _ in positions),
            tuple(times * (i < round.accepted) for i in positions),
            tuple(times * (i <= round.accepted) for i in positions),  # the first rejected one was looked at too
        )

    def __add__(self, other: DrafterStats) -> DrafterStats:
        """Both together, position by position."""
        counts = (self.drafted, other.drafted), (self.accepted, other.accepted), (self.tested, other.tested)
        return DrafterStats(self.drafter, *(tuple(map(sum, zip_longest(*pair, fillvalue=0))) for pair in counts))


Why = Literal["starting", "requested", "unavailable", "nothing to draft from", "does not pay", "pays", "unknown"]


@dataclass(frozen=True, slots=True)
class Speculation:
    """What was decided about drafting: whether it is on, and why."""

    on: bool = False
    why: Why = "starting"
    drafters: tuple[str, ...] = ()
    length: int = 0
    """Drafts of a round, at most."""
    plain_rate: float | None = None
    """Tokens per second that are expected without drafts."""
    rate: float | None = None
    """The same with the best drafts there are."""
    detail: str | None = None
    """More of why, where an engine cannot speculate at all, or does not say."""

    def __str__(self) -> str:
        """For people; nothing may read it back."""
        rates = "" if self.rate is None else f": {self.plain_rate:.0f} -> {self.rate:.0f} tokens/s"
        if self.on:
            return f"on: {' and '.join(self.drafters)}, {self.length} a round{rates}"
        return self.reason if self.why == "unknown" else f"off: {self.reason}{rates}"

    @property
    def reason(self) -> str:
        """Why it is off, for people."""
        known = _REASONS[self.why]
        return f"{known}: {self.detail}" if self.detail and self.why == "unknown" else self.detail or known


_REASONS: dict[Why, str] = {
    "starting": "no round yet",
    "requested": "as the request asked",
    "unavailable": "this engine cannot speculate",
    "nothing to draft from": "nothing to draft from",
    "does not pay": "drafting costs more than it saves",
    "pays": "",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """From one round of an answer on: who drafted how many tokens, and why."""

    round: int
    """The first is 1."""
    seconds: float
    """After the answer's first token."""
    drafter: str | None
    length: int
    speculation: Speculation
    """What had been decided; a drafter is tried again now and then although it is off."""


def acceptance_length(rounds: int, accepted: int) -> float | None:
    """1 + accepted / rounds: tokens per pass of the target; None where no rounds are known of."""
    return 1 + accepted / rounds if rounds else None


def acceptance_rate(drafted: int, accepted: int) -> float | None:
    """accepted / drafted; None where nothing is known to have been drafted."""
    return accepted / drafted if drafted else None


@dataclass(frozen=True, slots=True)
class SpecStats:
    """What speculation did for one answer."""

    rounds: int
    drafters: tuple[DrafterStats, ...] = ()
    speculation: Speculation = Speculation()
    """What was decided last."""
    decisions: tuple[Decision, ...] = ()
    """The latest, oldest first; one for each change."""
    warning: str | None = None
    """Set when the draft model's tokens have been rejected for long."""

    @property
    def off_reason(self) -> str | None:
        """Why nothing was drafted for the whole answer, for people; None where something was, no round was planned, or
        nobody knows."""
        decided = self.speculation
        return None if self.drafted or decided.on or decided.why in ("starting", "unknown") else decided.reason

    @property
    def unknown(self) -> str | None:
        """Why there are no figures, for people; None where there are."""
        return self.speculation.reason if self.speculation.why == "unknown" and not self.drafted else None

    @property
    def drafted(self) -> int:
        return sum(sum(d.drafted) for d in self.drafters)

    @property
    def accepted(self) -> int:
        return sum(sum(d.accepted) for d in self.drafters)

    @property
    def acceptance_rate(self) -> float | None:
        return acceptance_rate(self.drafted, self.accepted)

    @property
    def acceptance_length(self) -> float | None:
        return acceptance_length(self.rounds, self.accepted)

    @property
    def acceptance_per_position(self) -> tuple[float, ...]:
        """For each position that was tested: the share of drafts accepted, given that all before them were."""
        known = sum((d for d in self.drafters if d.tested), DrafterStats("all"))
        return tuple(a / n for a, n in zip(known.accepted, known.tested, strict=True) if n)

    def figures(self) -> dict[str, Any]:
        """By the names of docs/measuring.md; what nobody knows is None."""
        known = not self.unknown
        return {
            "rounds": self.rounds if self.rounds or (known and not self.drafted) else None,
            "drafted": self.drafted if known else None,
            "accepted": self.accepted if known else None,
            "acceptance_rate": self.acceptance_rate,
            "acceptance_length": self.acceptance_length,
            "acceptance_per_position": list(self.acceptance_per_position) if known else None,
            "off_reason": self.off_reason,
        }

    @classmethod
    def of_all(cls, several: Iterable[SpecStats]) -> SpecStats:
        """The sum over several answers, with one entry a drafter."""
        several = list(several)
        if len(several) == 1:
            return several[0]
        drafters: dict[str, DrafterStats] = {}
        for d in (d for s in several for d in s.drafters):
            drafters[d.drafter] = drafters.get(d.drafter, DrafterStats(d.drafter)) + d
        off = next((s.speculation for s in several if s.off_reason or s.unknown), Speculation(on=True, why="pays"))
        return cls(sum(s.rounds for s in several), tuple(drafters.values()), off)
