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
    _drafters: dict[str, DrafterStats] = field(default_factory=dict)
    _decisions: deque[Decision] = field(default_factory=lambda: deque(maxlen=_DECISIONS))

    def add(self, round: Round, decided: Speculation, seconds: float) -> None:
        """One round after what was `decided`, so many `seconds` after the first token."""
        self.rounds += 1
        new = Decision(self.rounds, seconds, round.drafter, len(round.drafted), decided)
        last = self._decisions[-1] if self._decisions else None
        if last is None or (last.drafter, last.length) != (new.drafter, new.length):
            self._decisions.append(new)
        if round.drafter:
            before = self._drafters.get(round.drafter, DrafterStats(round.drafter))
            self._drafters[round.drafter] = before + DrafterStats.of(round)

    def build(self, speculation: Speculation, warning: str | None) -> SpecStats:
        drafters = tuple(self._drafters[name] for name in sorted(self._drafters))
        return SpecStats(self.rounds, drafters, speculation, tuple(self._decisions), warning)
