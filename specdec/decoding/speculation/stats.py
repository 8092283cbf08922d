"""Counts, for one answer, of what was drafted and what was accepted, per drafter and position, and what was decided."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from specdec.types import Decision, DrafterStats, Round, SpecStats, Speculation

_DECISIONS = 32


@dataclass(slots=True)
class StatsBuilder:
    """Adds up rounds into SpecStats."""

    rounds: int = 0
    _counts: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    _decisions: deque[Decision] = field(default_factory=lambda: deque(maxlen=_DECISIONS))

    def add(self, round: Round, decided: Speculation, seconds: float) -> None:
        """One round after what was `decided`, so many `seconds` after the first token."""
        self.rounds += 1
        self._note(Decision(self.rounds, seconds, round.drafter, len(round.drafted), decided))
        if round.drafter is None:
            return
        drafted, accepted = self._counts.setdefault(round.drafter, ([], []))
        missing = len(round.drafted) - len(drafted)
        drafted.extend([0] * missing)
        accepted.extend([0] * missing)
        for i in range(len(round.drafted)):
            drafted[i] += 1
            accepted[i] += i < round.accepted

    def _note(self, new: Decision) -> None:
        last = self._decisions[-1] if self._decisions else None
        if last is None or (last.drafter, last.length) != (new.drafter, new.length):
            self._decisions.append(new)

    def build(self, speculation: Speculation, warning: str | None) -> SpecStats:
        drafters = tuple(DrafterStats(n, tuple(d), tuple(a)) for n, (d, a) in sorted(self._counts.items()))
        return SpecStats(self.rounds, drafters, speculation, tuple(self._decisions), warning)
