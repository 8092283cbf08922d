"""What a training tells while it runs, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from specdec.bench.prompts import BenchPrompt

Stage = Literal["loading", "answers", "training"]


@dataclass(frozen=True, slots=True)
class TrainingScore:
    """How good a drafter is on held-out greedy answers, with as many drafts a round as it can."""

    acceptance_length: float
    by_kind: dict[str, float]
    """Acceptance length by the prompts' category."""
    per_position: tuple[float, ...]
    """Share of accepted drafts, given that all before them were."""
    tokens_per_second: float
    """Projected on this machine, from measured times of whole rounds, with the best number of drafts."""
    drafts: int
    """That number."""
    plain_tokens_per_second: float


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """One report."""

    stage: Stage
    fraction: float = 0.0
    """How much of this stage is done, 0 to 1."""
    seconds_left: float | None = None
    """Of the whole training, as far as that is known."""
    step: int = 0
    tokens: int = 0
    """Of answers learnt from, repetitions counted."""
    answers: int = 0
    """How many the target has given."""
    made_up: int = 0
    """Of these, to prompts that it made up itself."""
    loss: float | None = None
    before: TrainingScore | None = None
    """When the training began."""
    best: TrainingScore | None = None
    note: str | None = None
    """Something to be told once."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of a training. `out` holds the best drafter that was seen."""

    out: Path
    before: TrainingScore
    best: TrainingScore
    steps: int
    tokens: int
    seconds: float
    """Of work, all continuations together."""
    stopped: bool
    """By Ctrl-C; the same call goes on."""
    made_up: int = 0
    """Prompts that the target made up itself, among those that it learnt from."""
    judged: tuple[BenchPrompt, ...] = field(repr=False, default=())
    """The held-out prompts."""


Report = Callable[[TrainingProgress], None]
