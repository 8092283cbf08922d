"""Plain against speculative: by category and temperature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from specdec.bench.prompts import BenchPrompt
from specdec.bench.systems import ours, request, warm_up
from specdec.bench.timing import (
    Runs,
    System,
    all_samples,
    interleaved,
    ratio,
    speed,
)
from specdec.engine import Engine
from specdec.types import SpecStats, Speculative

SEED = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One category at one temperature."""

    category: str
    temperature: float
    plain: float
    """tokens/s"""
    speculative: float
    speed_up: float
    ttft: float
    """Seconds, median, speculative."""
    acceptance_length: float
    acceptance_per_position: tuple[float, ...]
    tokens: int
    """In one repeat."""
    identical: int
    """How many of `answers` were the same with speculation and without."""
    answers: int
    off_reasons: list[str]


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
) -> Iterator[Row]:
    """One row per category and temperature, as soon as it is measured. `modes`: "plain" and "speculative"."""
    for mode in modes.values():
        warm_up(mode.engine, prompts[0], mode.speculative)
    for category in dict.fromkeys(p.category for p in prompts):
        chosen = [p for p in prompts if p.category == category]
        for temperature in temperatures:
            yield _row(category, temperature, measure(modes, chosen, temperature, max_tokens, repeats))


def measure(
    modes: Mapping[str, Mode],
    prompts: Sequence[BenchPrompt],
    temperature: float,
    max_tokens: int,
    repeats: int,
) -> Runs:
    """Both modes on all prompts, interleaved."""
    systems = [
        {name: _system(mode, p, max_tokens, temperature=temperature, seed=SEED + i) for name, mode in modes.items()}
        for i, p in enumerate(prompts)
    ]
    return interleaved(systems, repeats)


def _system(mode: Mode, prompt: BenchPrompt, max_tokens: int, **options: float) -> System:
    asked = request(mode.engine, prompt, max_tokens, speculative=mode.speculative, **options)
    return ours(mode.engine, asked)


def _row(category: str, temperature: float, runs: Runs) -> Row:
    plain, drafted = all_samples(runs, "plain"), all_samples(runs, "speculative")
    stats = SpecStats.of_all(s.stats for s in drafted)
    return Row(
        category=category,
        temperature=temperature,
        plain=speed(runs, "plain"),
        speculative=speed(runs, "speculative"),
        speed_up=ratio(runs, "speculative", "plain"),
        ttft=median(s.ttft for s in drafted),
        acceptance_length=stats.acceptance_length,
        acceptance_per_position=stats.acceptance_per_position,
        tokens=sum(s.tokens for s in runs[0]["speculative"]),
        identical=sum((a.token_ids, a.text) == (b.token_ids, b.text) for a, b in zip(plain, drafted, strict=True)),
        answers=len(drafted),
        off_reasons=sorted({s.stats.off_reason for s in drafted if s.stats.off_reason}),
    )
