"""What a training is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from specdec.errors import InvalidRequest
from specdec.types import MAX_SPECULATIVE_TOKENS
from specdec.types.validation import NUMBER, WHOLE, Bounds, check

Kind = Literal["dflash", "eagle3", "model"]
DEFAULT_MINUTES = 20.0
_MOST_MINUTES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """One training. `out` keeps what has to be known to go on: the same options go on where they stopped."""

    target: str
    """A folder or hub id, as for `load`."""
    out: Path
    """Where the drafter is written, beside what the training keeps in its folder `training`."""
    kind: Kind = "dflash"
    start: str | None = None
    """A published head, or for `model` a small model, to begin with."""
    minutes: float | None = None
    """Of wall time from loaded models on, the target's answers included. Neither these nor tokens: DEFAULT_MINUTES."""
    tokens: int | None = None
    """Of answers to learn from, repetitions counted; with these a CPU gives the same drafter for the same seed."""
    seed: int = 0
    layers: int | None = None
    """Of the drafter; None: what suits the target, and fits. EAGLE-3 heads have one."""
    drafts: int = 7
    """Tokens that a head learns to propose at once, at most."""
    length: int = 1024
    """Tokens of a prompt with its answer, at most."""
    answer: int = 384
    """Tokens of an answer, at most."""
    rate: float | None = None
    """The highest learning rate of matrices; None: what suits a new drafter, or one to start from."""
    device: str = "auto"
    dtype: str = "auto"
    """Of the target."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InvalidRequest("kind", self.kind, " or ".join(get_args(Kind)))
        if self.minutes is not None and self.tokens is not None:
            raise InvalidRequest("tokens", self.tokens, "none beside minutes")
        if self.target.startswith(("http://", "https://")):
            raise InvalidRequest("target", self.target, "a model on this machine: a server does not show hidden states")
        deepest = 1 if self.kind == "eagle3" else 64
        drafts: Bounds = (WHOLE, 1, MAX_SPECULATIVE_TOKENS, f"a whole number from 1 to {MAX_SPECULATIVE_TOKENS}")
        known = (
            ("minutes", self.minutes, (NUMBER, 0, _MOST_MINUTES, f"a number from 0 to {_MOST_MINUTES}")),
            ("tokens", self.tokens, (WHOLE, 1, math.inf, "a whole number, 1 or more")),
            ("layers", self.layers, (WHOLE, 1, deepest, f"a whole number from 1 to {deepest}, for {self.kind}")),
            ("drafts", self.drafts, drafts),
            ("length", self.length, (WHOLE, 64, math.inf, "a whole number, 64 or more")),
            ("answer", self.answer, (WHOLE, 16, self.length - 16, "a whole number from 16 to the length less 16")),
            ("rate", self.rate, (NUMBER, 0, 1, "a number from 0 to 1")),
        )
        check([number for number in known if number[1] is not None])

    @property
    def seconds(self) -> float:
        """Infinite where tokens are counted."""
        if self.tokens is not None:
            return math.inf
        return 60 * (DEFAULT_MINUTES if self.minutes is None else self.minutes)

    @property
    def lasting(self) -> dict[str, object]:
        """What may not change between a training and its continuation."""
        names = ("target", "kind", "start", "seed", "layers", "drafts", "length", "answer")
        return {name: getattr(self, name) for name in names}
