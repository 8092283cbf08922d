"""Figures of an answer under way, counted from its events' token ids and rounds; and all that the gauge shows.

Chunks of text say nothing about speed: a round of five tokens is one chunk. `clock` values come from the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from specdec.types import (
    DrafterStats,
    Ending,
    EngineInfo,
    EngineStats,
    GenerationEvent,
    Round,
    SpecStats,
    Speculation,
    Usage,
)

_WINDOW = 1.0
"""Seconds that "now" means."""
_ROUNDS = 120
_RATES = 120


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer's figures at one moment. None: not known yet."""

    running: bool = False
    tokens: int = 0
    now: float = 0.0
    """Tokens/s over the last second."""
    mean: float = 0.0
    """Tokens/s of decoding, 1 / TPOT."""
    ttft: float | None = None
    stats: SpecStats = field(default_factory=lambda: SpecStats(0))
    """Of the rounds so far; what was decided about drafting is known at the end."""
    chosen: tuple[int, ...] = ()
    """Drafted tokens of the latest rounds, oldest first."""
    rates: tuple[float, ...] = ()
    draft_ms: float = 0.0
    verify_ms: float = 0.0
    usage: Usage | None = None


class Gauge:
    """Begun with a request, given its events, read at any time."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._first: float | None = None
        self._last = now
        self._arrived: deque[tuple[float, int]] = deque()
        self._rates: deque[float] = deque(maxlen=_RATES)
        self._rounds: deque[Round] = deque(maxlen=_ROUNDS)
        self._drafters: dict[str, DrafterStats] = {}
        self.tokens = self._done_rounds = 0
        self._end: Ending | None = None

    def add(self, event: GenerationEvent, now: float) -> None:
        """Count one event."""
        if event.tokens:
            self._first = self._first or now
            self._last = now
            self.tokens += len(event.tokens)
            self._arrived.append((now, len(event.tokens)))
        if round := event.round:
            self._rounds.append(round)
            self._done_rounds += 1
            if round.drafter:
                before = self._drafters.get(round.drafter, DrafterStats(round.drafter))
                self._drafters[round.drafter] = before + DrafterStats.of(round)
        self._end = event.end or self._end

    def tick(self, now: float) -> None:
        """Note the present speed for the curve."""
        self._rates.append(self._now(now))

    def read(self, now: float) -> Reading:
        end = self._end
        seconds = self._last - (self._first or self._last)
        mean = (self.tokens - 1) / seconds if seconds > 0 else 0.0
        ttft = None if self._first is None else self._first - self._began
        if end:  # the engine's own times count
            mean, ttft = end.timing.tokens_per_second(self.tokens), end.timing.ttft
        decided = end.stats.speculation if end else Speculation()
        return Reading(
            running=end is None,
            tokens=self.tokens,
            now=self._now(now),
            mean=mean,
            ttft=ttft,
            stats=SpecStats(self._done_rounds, tuple(d for _, d in sorted(self._drafters.items())), decided),
            chosen=tuple(len(r.drafted) for r in self._rounds),
            rates=tuple(self._rates),
            draft_ms=_mean_ms([r.draft_seconds for r in self._rounds if r.drafted]),
            verify_ms=_mean_ms([r.verify_seconds for r in self._rounds]),
            usage=end.usage if end else None,
        )

    def _now(self, now: float) -> float:
        while self._arrived and self._arrived[0][0] <= now - _WINDOW:
            self._arrived.popleft()
        if self._first is None or not self._arrived:
            return 0.0
        seconds = min(_WINDOW, max(now - self._first, 0.05))
        return sum(count for _, count in self._arrived) / seconds


def _mean_ms(seconds: Sequence[float]) -> float:
    return 1000 * sum(seconds) / len(seconds) if seconds else 0.0


@dataclass(frozen=True, slots=True)
class GaugeState:
    """All that the gauge shows: the last answer's figures, and what the engine says of itself."""

    reading: Reading = field(default_factory=Reading)
    info: EngineInfo | None = None
    engine: EngineStats = field(default_factory=EngineStats)
    context_used: int = 0
    measured: float | None = None
    """Speed-up that /compare measured last."""

    @property
    def off(self) -> str | None:
        """Why speculation is off, or None while it is on."""
        if self.info and self.info.speculation_unavailable:
            return self.info.speculation_unavailable
        if not self.reading.running and self.reading.stats.off_reason:
            return self.reading.stats.off_reason
        decided = self.engine.speculation
        return None if decided.on or decided.why == "starting" else decided.reason

    @property
    def speed_up(self) -> tuple[float, bool] | None:
        """Over plain decoding, and whether that was measured or is the controller's estimate."""
        if self.measured is not None:
            return self.measured, True
        plain, best = self.engine.speculation.plain_rate, self.engine.speculation.rate
        return None if not plain or not best or self.off else (best / plain, False)
