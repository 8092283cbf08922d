"""Rounds without models: recorded costs, drawn acceptance, a clock that adds up. Same seed, same figures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from specdec.decoding.speculation.acceptance import Acceptance
from specdec.decoding.speculation.controller import Controller, Option, Row
from specdec.decoding.speculation.costs import CostCurve
from specdec.types import MAX_SPECULATIVE_TOKENS


@dataclass(frozen=True)
class Machine:
    """Milliseconds: of a target's pass by its rows, of one draft step of one row."""

    verify: dict[int, float]
    step: float

    def verify_seconds(self, rows: int) -> float:
        return self._curve.estimate(rows)

    def draft_seconds(self, steps: Sequence[int]) -> float:
        """Of so many steps a row; rows share them at a tenth of the price."""
        return max(steps, default=0) * self.step / 1000 * (0.9 + 0.1 * len(steps))

    @cached_property
    def _curve(self) -> CostCurve:
        curve = CostCurve()
        for size, cost in self.verify.items():
            curve.observe(size, cost / 1000)
        return curve


CPU = Machine({1: 2.0, 2: 2.1, 3: 2.2, 5: 2.4, 9: 3.4, 17: 5.6, 33: 10.5, 65: 20.0, 137: 42.0}, 0.35)
"""The bundled pair on two cores."""
GPU = Machine({1: 5.2, 5: 5.25, 9: 5.3, 17: 5.4, 33: 5.6, 65: 6.1, 137: 7.4}, 0.6)
"""Eight thousand million parameters and a draft of half a thousand million."""


@dataclass(frozen=True)
class Text:
    """How likely the next draft is accepted, given that all before it were; how often lookup finds a match."""

    model: float
    lookup: float
    found: float


COPY, PROSE, HOSTILE = Text(0.8, 0.95, 0.9), Text(0.72, 0.3, 0.15), Text(0.04, 0.1, 0.1)


@dataclass
class _Answer:
    text: Text
    memory: Acceptance
    left: int


class Simulation:
    """One engine over a workload. `k`: drafts a round, or None to let the controller choose."""

    def __init__(self, machine: Machine, k: int | None, seed: int = 0) -> None:
        self.machine, self.k, self.rng = machine, k, random.Random(seed)
        self.controller = Controller()
        self.controller.draft_costs["model"] = CostCurve()
        for rows in (1, 2, 3, 5, 9, 17):
            self.controller.verify_cost.observe(rows, machine.verify_seconds(rows))
        for steps in (1, 2, 4, 8):
            self.controller.draft_costs["model"].observe(steps, steps * machine.step / 1000)
        self.seconds, self.tokens, self.rows, self.drafted = 0.0, 0, 0, 0

    def serve(self, texts: Sequence[Text], slots: int, tokens: int = 128) -> float:
        """One answer a text, each of so many tokens, in so many slots; tokens per second until the last one has
        begun, while all slots are taken."""
        waiting, running = iter(texts), [_Answer(text, self._memory(), tokens) for text in texts[:slots]]
        for text in islice(waiting, slots, None):
            while all(answer.left > 0 for answer in running):
                self._round(running)
            done = next(i for i, answer in enumerate(running) if answer.left <= 0)
            running[done] = _Answer(text, self._memory(), tokens)
        return self.tokens / self.seconds

    def _memory(self) -> Acceptance:
        return Acceptance(self.controller.acceptance)

    def _options(self, text: Text) -> list[Option]:
        options = [Option("model", "model", MAX_SPECULATIVE_TOKENS, False)]
        if self.rng.random() < text.found:
            options.append(Option("lookup", "lookup/4-7", MAX_SPECULATIVE_TOKENS, True))
        return options

    def _round(self, answers: Sequence[_Answer]) -> None:
        rows = [Row(a.memory, self._options(a.text), a.left, self.k) for a in answers]
        choices = self.controller.plan(rows)
        size = len(rows) * (1 + max(choice.length for choice in choices))
        steps = [c.length for c in choices if c.option and not c.option.free]
        verify, drafting = self.machine.verify_seconds(size), self.machine.draft_seconds(steps)
        self.controller.verify_cost.observe(size, verify)
        if steps:
            self.controller.draft_costs["model"].observe(max(steps), drafting)
        self.seconds += verify + drafting
        self.rows += len(rows)
        self.drafted += sum(choice.length for choice in choices)
        for answer, row, choice in zip(answers, rows, choices, strict=True):
            accepted = 0
            if choice.option:
                accepted = self._accepted(choice.length, getattr(answer.text, choice.option.drafter))
                self.controller.observe(row.acceptance, choice.option, choice.length, accepted)
            answer.left -= 1 + accepted
            self.tokens += 1 + accepted

    def _accepted(self, drafted: int, rate: float) -> int:
        return next((i for i in range(drafted) if self.rng.random() >= rate), drafted)
