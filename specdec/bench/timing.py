"""Timed answers, and sums of them. Rates are counted from token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from statistics import median

from specdec.engine import Progress
from specdec.errors import EngineFailed
from specdec.types import Completion


def tokens_per_second(answers: Iterable[Completion]) -> float:
    """Decode speed of several answers together: tokens after the first of each, over the time after the first."""
    tokens, seconds = 0, 0.0
    for answer in answers:
        if (counted := answer.usage.completion_tokens) is None:
            raise EngineFailed("an answer without a count of its tokens; expected usage or token ids, to measure speed")
        if counted > 1:
            tokens, seconds = tokens + counted - 1, seconds + answer.timing.total - answer.timing.ttft
    return tokens / seconds if seconds else 0.0


System = Callable[[], Completion]
"""Answers once and says how long it took."""
Runs = list[dict[str, list[Completion]]]
"""For each repeat: the answers of each system, over all prompts."""


Watch = Callable[[str], None]
"""Is told of each answer before it begins."""


def counted(progress: Progress, answers: int) -> Watch:
    """Passes on which of so many answers begins, with the share of them that are there."""
    begun = count()
    return lambda what: progress(what, next(begun) / answers)


def interleaved(prompts: Sequence[dict[str, System]], repeats: int, what: str, watch: Watch) -> Runs:
    """Every system answers every prompt `repeats` times, one after another, in an order that turns around each time,
    so that whatever else the machine does falls on all alike."""
    runs: Runs = []
    for repeat in range(repeats):
        run: dict[str, list[Completion]] = {}
        for at, systems in enumerate(prompts):
            names = list(systems) if (repeat + at) % 2 == 0 else list(reversed(systems))
            for name in names:
                watch(f"{what}: {name}, prompt {at + 1} of {len(prompts)}")
                run.setdefault(name, []).append(systems[name]())
        runs.append(run)
    return runs


def speed(runs: Runs, system: str) -> float:
    """Median over the repeats."""
    return median(tokens_per_second(run[system]) for run in runs)


def ratio(runs: Runs, fast: str, slow: str) -> float:
    """How many times faster: the median of each repeat's own ratio."""
    return median(tokens_per_second(r[fast]) / max(tokens_per_second(r[slow]), 1e-9) for r in runs)


def all_answers(runs: Runs, system: str) -> list[Completion]:
    """All answers of one system."""
    return [answer for run in runs for answer in run[system]]
