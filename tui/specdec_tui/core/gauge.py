"""Figures of an answer under way, counted from its events' token ids and rounds.

Chunks of text say nothing about speed: a round of five tokens is one chunk. `clock` values come from the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from specdec.types import DrafterStats, GenerationEvent, Round, SpecStats, Timing, Usage

_WINDOW = 1.0
"""Seconds that "now" means."""
_ROUNDS = 120
_RATES = 120


@dataclass(frozen=True, slots=True)
class Reading:
    """What the gauge shows at one moment. None: not known yet."""

    running: bool = False
    tokens: int = 0
    now: float = 0.0
    """Tokens/s over the last second."""
    mean: float = 0.0
    """Tokens/s of decoding, 1 / TPOT."""
    ttft: float | None = None
    stats: SpecStats = field(default_factory=lambda: SpecStats(0))
    """Of the rounds so far."""
    chosen: tuple[int, ...] = ()
    """Drafted tokens of the latest rounds, oldest first."""
    rates: tuple[float, ...] = ()
    draft_ms: float = 0.0
    verify_ms: float = 0.0
    usage: Usage | None = None
    off: str | None = None
    """Why the answer ended with speculation off."""


class Gauge:
    """Begun with a request, fed its events, read at any time."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._first: float | None = None
        self._last = now
        self._arrived: deque[tuple[float, int]] = deque()
        self._rates: deque[float] = deque(maxlen=_RATES)
        self._rounds: deque[Round] = deque(maxlen=_ROUNDS)
        self._drafters: dict[str, DrafterStats] = {}
        self.tokens = self._done_rounds = 0
        self._timing: Timing | None = None
        self._usage: Usage | None = None
        self._off: str | None = None

    def see(self, event: GenerationEvent, now: float) -> None:
        """Count one event."""
        if event.tokens:
            self._first = self._first or now
            self._last = now
            self.tokens += len(event.tokens)
            self._arrived.append((now, len(event.tokens)))
        if event.round:
            self._see_round(event.round)
        if event.finish_reason:
            self._timing, self._usage = event.timing, event.usage
            self._off = event.stats.off_reason if event.stats else None

    def tick(self, now: float) -> None:
        """Note the present speed for the curve."""
        self._rates.append(self._now(now))

    def read(self, now: float) -> Reading:
        return Reading(
            running=self._timing is None,
            tokens=self.tokens,
            now=self._now(now),
            mean=self._mean(),
            ttft=self._ttft(),
            stats=SpecStats(self._done_rounds, tuple(d for _, d in sorted(self._drafters.items()))),
            chosen=tuple(len(r.drafted) for r in self._rounds),
            rates=tuple(self._rates),
            draft_ms=_mean_ms([r.draft_seconds for r in self._rounds if r.drafted]),
            verify_ms=_mean_ms([r.verify_seconds for r in self._rounds]),
            usage=self._usage,
            off=self._off,
        )

    def _see_round(self, round: Round) -> None:
        self._rounds.append(round)
        self._done_rounds += 1
        if round.drafter:
            before = self._drafters.get(round.drafter, DrafterStats(round.drafter))
            self._drafters[round.drafter] = before + DrafterStats.of(round)

    def _now(self, now: float) -> float:
        while self._arrived and self._arrived[0][0] <= now - _WINDOW:
            self._arrived.popleft()
        if self._first is None or not self._arrived:
            return 0.0
        seconds = min(_WINDOW, max(now - self._first, 0.05))
        return sum(count for _, count in self._arrived) / seconds

    def _mean(self) -> float:
        if self._timing:
            return self._timing.tokens_per_second(self.tokens)
        seconds = self._last - (self._first or self._last)
        return (self.tokens - 1) / seconds if seconds > 0 else 0.0

    def _ttft(self) -> float | None:
        if self._timing:
            return self._timing.ttft
        return None if self._first is None else self._first - self._began


def _mean_ms(seconds: Sequence[float]) -> float:
    return 1000 * sum(seconds) / len(seconds) if seconds else 0.0
