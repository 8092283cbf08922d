"""The same request plain and speculative with one seed: the measured speed-up, and whether the texts are the same."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Literal

from specdec.types import MAX_SEED, Completion, Request
from specdec.verify.difference import first_difference

Side = Literal["plain", "speculative"]
SIDES: tuple[Side, ...] = ("plain", "speculative")
WARM_UP_TOKENS = 16
"""Of the short untimed run before each side."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both answers."""

    plain: Completion
    speculative: Completion
    accept_rule: str

    @property
    def speed_up(self) -> float | None:
        """None where an answer had no speed, or nobody counted its tokens."""
        fast, slow = self.speculative.tokens_per_second, self.plain.tokens_per_second
        return fast / slow if fast and slow else None

    @property
    def identical(self) -> bool:
        return first_difference(self.plain, self.speculative) is None

    @property
    def verdict(self) -> str:
        """ "identical", or where they part and what may explain it."""
        difference = first_difference(self.plain, self.speculative)
        if difference is None:
            return "identical"
        rejecting = self.accept_rule == "rejection"
        why = ": the rejection rule keeps the distribution, not the text" if rejecting else ""
        return f"they part at token {difference.position}{why}"


def sides(request: Request) -> dict[Side, Request]:
    """The two requests, with the same seed, and without the memory of recent answers, which may know this one."""
    seed = request.sampling.seed
    seed = secrets.randbelow(MAX_SEED) if seed is None else seed
    sampling = replace(request.sampling, seed=seed)
    drafting = "auto" if request.speculative in ("off", 0) else request.speculative
    return {
        side: replace(request, sampling=sampling, speculative=how, remember=False, id=side)
        for side, how in zip(SIDES, ("off", drafting), strict=True)
    }
