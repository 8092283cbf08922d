"""Figures of an answer under way, counted from its events' token ids and rounds.

Chunks of text say nothing about speed: a round of five tokens is one chunk. `clock` values come from the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from specdec.types import GenerationEvent, Round, Timing, Usage

_WINDOW = 1.0
"""Seconds that "now" means."""
_ROUNDS = 120
_RATES = 120


@dataclass(frozen=True, slots=True)
class Position:
    """How drafts fared at one position, given that all before it were accepted."""

    tested: int
    accepted: int

    @property
    def rate(self) -> float:
        return self.accepted / self.tested if self.tested else 0.0


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
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    positions: tuple[Position, ...] = ()
    chosen: tuple[int, ...] = ()
    """Drafted tokens of the latest rounds, oldest first."""
    rates: tuple[float, ...] = ()
    draft_ms: float = 0.0
    verify_ms: float = 0.0
    drafters: tuple[tuple[str, int], ...] = ()
    """Accepted tokens by drafter."""
    usage: Usage | None = None
    off: str | None = None
    """Why the answer ended with speculation off."""

    @property
    def acceptance_rate(self) -> float:
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def acceptance_length(self) -> float:
        return 1 + self.accepted / self.rounds if self.rounds else 1.0


class Gauge:
    """Begun with a request, fed its events, read at any time."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._first: float | None = None
        self._last = now
        self._arrived: deque[tuple[float, int]] = deque()
        self._rates: deque[float] = deque(maxlen=_RATES)
        self._rounds: deque[Round] = deque(maxlen=_ROUNDS)
        self._tested: list[int] = []
        self._passed: list[int] = []
        self._drafters: dict[str, int] = {}
        self.tokens = self._done_rounds = self._drafted = self._accepted = 0
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
            rounds=self._done_rounds,
            drafted=self._drafted,
            accepted=self._accepted,
            positions=tuple(Position(t, p) for t, p in zip(self._tested, self._passed, strict=True)),
            chosen=tuple(len(r.drafted) for r in self._rounds),
            rates=tuple(self._rates),
            draft_ms=_mean_ms([r.draft_seconds for r in self._rounds if r.drafted]),
            verify_ms=_mean_ms([r.verify_seconds for r in self._rounds]),
            drafters=tuple(sorted(self._drafters.items())),
            usage=self._usage,
            off=self._off,
        )

    def _see_round(self, round: Round) -> None:
        self._rounds.append(round)
        self._done_rounds += 1
        self._drafted += len(round.drafted)
        self._accepted += round.accepted
        if round.drafter:
            self._drafters[round.drafter] = self._drafters.get(round.drafter, 0) + round.accepted
        reached = min(round.accepted + 1, len(round.drafted))  # the first rejected one was still looked at
        missing = reached - len(self._tested)
        self._tested.extend([0] * missing)
        self._passed.extend([0] * missing)
        for i in range(reached):
            self._tested[i] += 1
            self._passed[i] += i < round.accepted

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
