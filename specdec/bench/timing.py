"""One timed answer, and sums of them. Rates are counted from token ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from specdec.types import Completion


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed answer of one system."""

    token_ids: tuple[int, ...]
    ttft: float
    total: float
    rounds: int = 0
    drafted: tuple[int, ...] = ()
    """Per position."""
    accepted: tuple[int, ...] = ()
    off_reason: str | None = None
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
        drafted: Counter[int] = Counter()
        accepted: Counter[int] = Counter()
        for d in completion.stats.drafters:
            drafted.update(dict(enumerate(d.drafted)))
            accepted.update(dict(enumerate(d.accepted)))
        width = len(drafted)
        return cls(
            completion.token_ids, completion.timing.ttft, completion.timing.total, completion.stats.rounds,
            tuple(drafted[i] for i in range(width)), tuple(accepted[i] for i in range(width)),
            completion.stats.off_reason, completion.text, completion.usage.completion_tokens,
        )  # fmt: skip


def tokens_per_second(samples: Iterable[Sample]) -> float:
    """Decode speed of several answers together: tokens after the first of each, over the time after the first."""
    timed = [s for s in samples if s.tokens > 1]
    seconds = sum(s.decode_seconds for s in timed)
    return sum(s.tokens - 1 for s in timed) / seconds if seconds else 0.0


def acceptance_per_position(samples: Sequence[Sample]) -> list[float]:
    """Share of drafts accepted at each position, over all answers."""
    width = max((len(s.drafted) for s in samples), default=0)
    drafted = [sum(s.drafted[i] for s in samples if i < len(s.drafted)) for i in range(width)]
    accepted = [sum(s.accepted[i] for s in samples if i < len(s.accepted)) for i in range(width)]
    return [a / d if d else 0.0 for a, d in zip(accepted, drafted, strict=True)]


def acceptance_length(samples: Sequence[Sample]) -> float:
    """1 + accepted / rounds."""
    rounds = sum(s.rounds for s in samples)
    return 1 + sum(sum(s.accepted) for s in samples) / rounds if rounds else 1.0


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
