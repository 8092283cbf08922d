"""One timed answer, and sums of them. Rates are counted from token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from specdec.types import Completion, SpecStats


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed answer of one system."""

    token_ids: tuple[int, ...]
    ttft: float
    total: float
    stats: SpecStats = field(default_factory=lambda: SpecStats(0))
    text: str = ""
    counted: int | None = None
    """Tokens, by a server that sends no ids."""

    @property
    def tokens(self) -> int:
        return len(self.token_ids) if self.counted is None else self.counted

    @property
    def decode_seconds(self) -> float:
        return self.total - self.ttft

    @classmethod
    def of(cls, completion: Completion) -> Sample:
        timing = completion.timing
        return cls(
            completion.token_ids,
            timing.ttft,
            timing.total,
            completion.stats,
            completion.text,
            completion.usage.completion_tokens,
        )


def tokens_per_second(samples: Iterable[Sample]) -> float:
    """Decode speed of several answers together: tokens after the first of each, over the time after the first."""
    timed = [s for s in samples if s.tokens > 1]
    seconds = sum(s.decode_seconds for s in timed)
    return sum(s.tokens - 1 for s in timed) / seconds if seconds else 0.0


System = Callable[[], Sample]
"""Answers once and says how long it took."""
Runs = list[dict[str, list[Sample]]]
"""For each repeat: the answers of each system, over all prompts."""


def interleaved(prompts: Sequence[dict[str, System]], repeats: int) -> Runs:
    """Every system answers every prompt `repeats` times, one after another, in an order that turns around each time,
    so that whatever else the machine does falls on all alike."""
    runs: Runs = []
    for repeat in range(repeats):
        run: dict[str, list[Sample]] = {}
        for at, systems in enumerate(prompts):
            names = list(systems) if (repeat + at) % 2 == 0 else list(reversed(systems))
            for name in names:
                run.setdefault(name, []).append(systems[name]())
        runs.append(run)
    return runs


def speed(runs: Runs, system: str) -> float:
    """Median over the repeats."""
    return median(tokens_per_second(run[system]) for run in runs)


def ratio(runs: Runs, fast: str, slow: str) -> float:
    """How many times faster: the median of each repeat's own ratio."""
    return median(tokens_per_second(r[fast]) / max(tokens_per_second(r[slow]), 1e-9) for r in runs)


def all_samples(runs: Runs, system: str) -> list[Sample]:
    """All answers of one system."""
    return [s for run in runs for s in run[system]]
