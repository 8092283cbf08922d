"""Counts, for one answer, of what was drafted and what was accepted, per drafter and position, and what was decided."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

from specdec.types import Decision, DrafterStats, Round, SpecStats, Speculation

_DECISIONS = 32


@dataclass(slots=True)
class StatsBuilder:
    """Adds up rounds into SpecStats."""

    rounds: int = 0
    _alike: dict[tuple[str, int, int], tuple[Round, int]] = field(default_factory=dict)
    """By drafter, drafts and how many were accepted: one such round, and how many there were."""
    _decisions: deque[Decision] = field(default_factory=partial(deque, (), _DECISIONS))

    def add(self, round: Round, decided: Speculation, seconds: float) -> None:
        """One round after what was `decided`, so many `seconds` after the first token."""
        self.rounds += 1
        drafter, length = round.drafter, len(round.drafted)
        last = self._decisions[-1] if self._decisions else None
        if last is None or last.drafter != drafter or last.length != length:
            self._decisions.append(Decision(self.rounds, seconds, drafter, length, decided))
        if drafter:
            alike = drafter, length, round.accepted
            self._alike[alike] = round, self._alike.get(alike, (round, 0))[1] + 1

    def build(self, speculation: Speculation, warning: str | None) -> SpecStats:
        drafters: dict[str, DrafterStats] = {}
        for (name, _, _), (round, times) in sorted(self._alike.items(), key=itemgetter(0)):
            share = DrafterStats.of(round, times)
            drafters[name] = drafters[name] + share if name in drafters else share
        return SpecStats(self.rounds, tuple(drafters.values()), speculation, tuple(self._decisions), warning)
