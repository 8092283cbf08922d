"""Figures of an answer under way, counted from its events' token ids and rounds; and all that the gauge shows.

Chunks of text say nothing about speed: a round of five tokens is one chunk. `clock` values come from the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
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
    Timing,
    ToolCallDelta,
    Usage,
)

_WINDOW = 1.0
"""Seconds that "now" means."""
_ROUNDS = 120
_RATES = 120
_LEAST_ROUNDS = 4
"""Fewer say nothing of a speed."""
LETTERS = 4
"""Characters of a token, about, for servers that do not say."""
_PIECES = 3
"""Of a text whose tokens nobody tells: fewer may have been held back, and say nothing about speed."""


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
    estimated: bool = False
    """The server does not say its tokens, or not yet: they are counted from the text."""
    speed_up: float | None = None
    """Over plain decoding, of the whole answer: an estimate from its rounds' measured times."""
    measured: float | None = None
    """The same, as /compare measured it."""
    chosen: tuple[int, ...] = ()
    """Drafted tokens of the latest rounds, oldest first."""
    rates: tuple[float, ...] = ()
    draft_ms: float = 0.0
    verify_ms: float = 0.0
    usage: Usage | None = None

    @classmethod
    def of(cls, figures: Mapping[str, float | str]) -> Reading:
        """Of an answer that is long over, from what is kept beside it. The positions and the curves are gone."""

        def number(name: str) -> float:
            return float(figures.get(name, 0))

        drafted, accepted, off = int(number("drafted")), int(number("accepted")), figures.get("off")
        stats = SpecStats(
            int(number("rounds")),
            (DrafterStats("", (drafted,), (accepted,)),) if drafted else (),
            Speculation(why="unavailable", detail=str(off)) if off else Speculation(),
        )
        cached = int(number("cached_tokens")) if "cached_tokens" in figures else None
        return cls(
            tokens=int(number("tokens")),
            mean=number("tokens_per_second"),
            ttft=number("ttft") or None,
            stats=stats,
            estimated=bool(figures.get("estimated")),
            speed_up=number("speed_up") or None,
            measured=number("measured") or None,
            usage=Usage(int(number("prompt_tokens")), int(number("tokens")), cached)
            if "prompt_tokens" in figures
            else None,
        )


class Gauge:
    """Begun with a request, given its events, read at any time."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._first: float | None = None
        self._last = now
        self._arrived: deque[tuple[float, float]] = deque()
        self._rates: deque[float] = deque(maxlen=_RATES)
        self._rounds: deque[Round] = deque(maxlen=_ROUNDS)
        self._drafters: dict[str, DrafterStats] = {}
        self._pace = Pace()
        self._counted = self._done_rounds = 0
        self._guessed = 0.0
        self._pieces = 0
        self._end: Ending | None = None

    @property
    def tokens(self) -> int:
        """By their ids, else by the server's usage, else guessed from the text."""
        told = self._end.usage.completion_tokens if self._end else 0
        return self._counted or told or round(self._guessed)

    @property
    def estimated(self) -> bool:
        return self._guessed > 0 and not self._counted and not (self._end and self._end.usage.completion_tokens)

    def add(self, event: GenerationEvent, now: float) -> None:
        """Count one event."""
        letters = sum(len(d.arguments if isinstance(d, ToolCallDelta) else d.text) for d in event.deltas)
        if new := len(event.tokens) or letters / LETTERS:
            self._first = self._first or now
            self._last = now
            self._arrived.append((now, new))
            self._pieces += 1
        self._counted += len(event.tokens)
        self._guessed += letters / LETTERS
        if round := event.round:
            self._rounds.append(round)
            self._pace.add(round, len(event.tokens))
            self._done_rounds += 1
            if round.drafter:
                before = self._drafters.get(round.drafter, DrafterStats(round.drafter))
                self._drafters[round.drafter] = before + DrafterStats.of(round)
        self._end = event.end or self._end

    def tick(self, now: float) -> None:
        """Note the present speed for the curve."""
        self._rates.append(self._now(now))

    def read(self, now: float, plain_rate: float | None = None) -> Reading:
        """`plain_rate`: tokens/s without drafts, for an answer that had no such rounds."""
        end = self._end
        if end:  # the engine's own times and counts
            timing, stats = end.timing, end.stats
            plain_rate = stats.speculation.plain_rate or plain_rate
        else:
            begun = self._first if self._first and self._streamed else self._last
            timing = Timing(0.0, begun - self._began, self._last - self._began)
            stats = SpecStats(self._done_rounds, tuple(d for _, d in sorted(self._drafters.items())))
        return Reading(
            running=end is None,
            tokens=self.tokens,
            now=self._now(now),
            mean=timing.tokens_per_second(self.tokens),
            ttft=timing.ttft if end or self._first is not None else None,
            stats=stats,
            estimated=self.estimated,
            speed_up=self._pace.speed_up(stats, plain_rate),
            chosen=tuple(len(r.drafted) for r in self._rounds),
            rates=tuple(self._rates),
            draft_ms=_mean_ms([r.draft_seconds for r in self._rounds if r.drafted]),
            verify_ms=_mean_ms([r.verify_seconds for r in self._rounds]),
            usage=end.usage if end else None,
        )

    @property
    def _streamed(self) -> bool:
        """Whether what came says how fast it is made."""
        return not self.estimated or self._pieces >= _PIECES

    def _now(self, now: float) -> float:
        while self._arrived and self._arrived[0][0] <= now - _WINDOW:
            self._arrived.popleft()
        if self._first is None or not (self._arrived and self._streamed):
            return 0.0
        seconds = min(_WINDOW, max(now - self._first, 0.05))
        return sum(count for _, count in self._arrived) / seconds


@dataclass(slots=True)
class Pace:
    """What an answer's rounds took, and what they would have taken without drafts."""

    tokens: int = 0
    seconds: float = 0.0
    plain_rounds: int = 0
    plain_seconds: float = 0.0

    def add(self, round: Round, tokens: int) -> None:
        took = round.draft_seconds + round.verify_seconds
        self.tokens += tokens
        self.seconds += took
        if not round.drafted:
            self.plain_rounds += 1
            self.plain_seconds += took

    def speed_up(self, stats: SpecStats, plain_rate: float | None) -> float | None:
        """Over plain decoding. A plain token takes as long as the answer's own rounds without drafts did, else as the
        engine knows. No pass of the target can be worth more than the tokens that it gave."""
        if stats.rounds < _LEAST_ROUNDS:
            return None
        known = self.plain_rounds >= _LEAST_ROUNDS
        plain = self.plain_seconds / self.plain_rounds if known else 1 / plain_rate if plain_rate else None
        length = stats.acceptance_length
        if plain is None or length is None or not stats.drafted or not self.seconds:
            return None
        return min(self.tokens * plain / self.seconds, length)


def _mean_ms(seconds: Sequence[float]) -> float:
    return 1000 * sum(seconds) / len(seconds) if seconds else 0.0


@dataclass(frozen=True, slots=True)
class GaugeState:
    """All that the gauge shows: the figures of the answer beside it, and what the engine says of itself."""

    reading: Reading = field(default_factory=Reading)
    info: EngineInfo | None = None
    engine: EngineStats = field(default_factory=EngineStats)
    context_used: int = 0

    @property
    def off(self) -> str | None:
        """Why nothing is drafted, if nothing was in the answer beside it; None where that is not known."""
        if self.info and self.info.speculation_unavailable:
            return self.info.speculation_unavailable
        return None if self.reading.running else self.reading.stats.off_reason
