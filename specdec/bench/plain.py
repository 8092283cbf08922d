"""Plain against speculative: by category and temperature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from specdec.bench.prompts import BenchPrompt
from specdec.bench.systems import make_request, ours, warm_up
from specdec.bench.timing import Runs, all_answers, counted, interleaved, ratio, speed
from specdec.engine import Engine, Progress
from specdec.types import SpecStats, Speculative

SEED = 7


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """One category at one temperature."""

    category: str
    temperature: float
    plain: float
    """tokens/s"""
    speculative: float
    speed_up: float
    ttft: float
    """Seconds, median, speculative."""
    acceptance_length: float | None
    """None where no rounds are known of."""
    acceptance_per_position: tuple[float, ...]
    tokens: int
    """In one repeat."""
    identical: int
    """How many of `answers` were the same with speculation and without."""
    answers: int
    off_reasons: list[str]

    @classmethod
    def of(cls, category: str, temperature: float, runs: Runs) -> CategoryRow:
        """What both modes' answers come to."""
        plain, drafted = all_answers(runs, "plain"), all_answers(runs, "speculative")
        stats = SpecStats.of_all(a.stats for a in drafted)
        return cls(
            category,
            temperature,
            plain=speed(runs, "plain"),
            speculative=speed(runs, "speculative"),
            speed_up=ratio(runs, "speculative", "plain"),
            ttft=median(a.timing.ttft for a in drafted),
            acceptance_length=stats.acceptance_length,
            acceptance_per_position=stats.acceptance_per_position,
            tokens=sum(a.usage.completion_tokens or 0 for a in runs[0]["speculative"]),
            identical=sum((a.token_ids, a.text) == (b.token_ids, b.text) for a, b in zip(plain, drafted, strict=True)),
            answers=len(drafted),
            off_reasons=sorted({a.stats.off_reason for a in drafted if a.stats.off_reason}),
        )


@dataclass(frozen=True, slots=True)
class Mode:
    """An engine, and how it is to speculate."""

    engine: Engine
    speculative: Speculative


def plain_and_speculative(
    modes: Mapping[str, Mode],
    prompts: Sequence[BenchPrompt],
    temperatures: Sequence[float],
    *,
    max_tokens: int = 128,
    repeats: int = 3,
    progress: Progress = lambda _what, _fraction: None,
) -> Iterator[CategoryRow]:
    """One row per category and temperature, as soon as it is measured. `modes`: "plain" and "speculative"."""
    for mode in modes.values():
        warm_up(mode.engine, prompts[0], mode.speculative)
    watch = counted(progress, len(modes) * len(prompts) * len(temperatures) * repeats)
    for category in dict.fromkeys(p.category for p in prompts):
        chosen = [p for p in prompts if p.category == category]
        for temperature in temperatures:
            # a server drafts from recent answers: the second of the two would be the first one, read off
            make = partial(make_request, max_tokens=max_tokens, temperature=temperature, remember=False)
            systems = [
                {
                    name: ours(m.engine, make(m.engine, p, speculative=m.speculative, seed=SEED + i))
                    for name, m in modes.items()
                }
                for i, p in enumerate(chosen)
            ]
            runs = interleaved(systems, repeats, f"{category}, T={temperature:g}", watch)
            yield CategoryRow.of(category, temperature, runs)
