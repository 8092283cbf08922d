"""Counts, for one answer, of what was drafted and what was accepted, per drafter and position, and what was decided."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from specdec.types import Decision, DrafterStats, Round, SpecStats

_DECISIONS = 32


@dataclass(slots=True)
class Tally:
    """Adds up rounds into SpecStats."""

    rounds: int = 0
    _drafters: dict[str, DrafterStats] = field(default_factory=dict)
    _decisions: deque[Decision] = field(default_factory=lambda: deque(maxlen=_DECISIONS))

    def add(self, round: Round, reason: str, seconds: float) -> None:
        """One round, decided for this `reason`, so many `seconds` after the first token."""
        self.rounds += 1
        if round.drafter and reason.startswith("off"):
            reason = f"tried again though {reason}"
        self._decided(Decision(self.rounds, seconds, round.drafter, len(round.drafted), reason))
        if round.drafter:
            before = self._drafters.get(round.drafter, DrafterStats(round.drafter))
            self._drafters[round.drafter] = before + DrafterStats.of(round)

    def _decided(self, new: Decision) -> None:
        last = self._decisions[-1] if self._decisions else None
        if last is None or (last.drafter, last.length) != (new.drafter, new.length):
            self._decisions.append(new)

    def stats(self, off_reason: str | None, warning: str | None) -> SpecStats:
        drafters = tuple(self._drafters[name] for name in sorted(self._drafters))
        return SpecStats(self.rounds, drafters, off_reason, tuple(self._decisions), warning)
