"""Counts, for one answer, of what was drafted and what was accepted, per drafter and position."""

from __future__ import annotations

from dataclasses import dataclass, field

from specdec.types import DrafterStats, Round, SpecStats


@dataclass(slots=True)
class Tally:
    """Adds up rounds into SpecStats."""

    rounds: int = 0
    _counts: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)

    def add(self, round: Round) -> None:
        self.rounds += 1
        if round.drafter is None:
            return
        drafted, accepted = self._counts.setdefault(round.drafter, ([], []))
        missing = len(round.drafted) - len(drafted)
        drafted.extend([0] * missing)
        accepted.extend([0] * missing)
        for i in range(len(round.drafted)):
            drafted[i] += 1
            accepted[i] += i < round.accepted

    def stats(self, off_reason: str | None) -> SpecStats:
        drafters = tuple(DrafterStats(n, tuple(d), tuple(a)) for n, (d, a) in sorted(self._counts.items()))
        return SpecStats(self.rounds, drafters, off_reason)
