"""The checks as work to be done, of which one can say beforehand how much it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from specdec.engine import Progress
from specdec.verify.cases import Cases
from specdec.verify.check import Check


@dataclass(frozen=True, slots=True)
class Step:
    """One check, or what several need (None), and about what it asks for: so many answers of so many tokens."""

    name: str
    make: Callable[[], Check | None]
    answers: int = 1
    tokens: int = 0
    at_once: int = 1

    @property
    def cost(self) -> float:
        """In tokens, one after another."""
        return self.answers * self.tokens / self.at_once


def run(steps: Sequence[Step], cases: Cases, progress: Progress) -> Iterator[Check]:
    """Each check as soon as it is made; `progress` is told of every answer."""
    whole, done = sum(step.cost for step in steps), 0.0
    for step in steps:

        def heard(answers: int, step: Step = step, before: float = done) -> None:
            progress(step.name, (before + step.cost * min(answers / step.answers, 1.0)) / whole)

        cases.listen(heard)
        check = step.make()
        done += step.cost
        if check:
            yield check
