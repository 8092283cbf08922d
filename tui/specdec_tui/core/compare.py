"""The same request plain and speculative with one seed: the measured speed-up, and whether the texts are the same."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from specdec.engine import Engine
from specdec.types import MAX_SEED, Completion, GenerationEvent, Request
from specdec.verify.difference import first_difference

Side = Literal["plain", "speculative"]
SIDES: tuple[Side, ...] = ("plain", "speculative")
_WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both answers."""

    plain: Completion
    speculative: Completion
    accept_rule: str

    @property
    def speed_up(self) -> float:
        slow = self.plain.tokens_per_second
        return self.speculative.tokens_per_second / slow if slow else 0.0

    @property
    def verdict(self) -> str:
        difference = first_difference(self.plain, self.speculative)
        if difference is None:
            return "identical"
        why = (
            ": the rejection rule keeps the distribution, not the text"
            if self.accept_rule == "rejection"
            else ""
        )
        return f"they part at token {difference.position}{why}"


def sides(request: Request) -> dict[Side, Request]:
    """The two requests, with the same seed, and without the memory of recent answers, which know this one."""
    seed = request.sampling.seed
    seed = secrets.randbelow(MAX_SEED) if seed is None else seed
    sampling = replace(request.sampling, seed=seed)
    drafting = "auto" if request.speculative in ("off", 0) else request.speculative
    return {
        side: replace(request, sampling=sampling, speculative=how, remember=False, id=side)
        for side, how in zip(SIDES, ("off", drafting), strict=True)
    }


async def compare(
    engine: Engine, request: Request, see: Callable[[Side, GenerationEvent], None]
) -> Comparison:
    """One after the other, each after a short untimed run."""
    found = {}
    for side, asked in sides(request).items():
        await engine.agenerate(
            "Warm up.", max_tokens=_WARM_UP_TOKENS, ignore_eos=True, speculative=asked.speculative
        )
        events = []
        async for event in _events(engine, asked):
            events.append(event)
            see(side, event)
        found[side] = Completion.of(events)
    return Comparison(found["plain"], found["speculative"], engine.info.accept_rule)


async def _events(engine: Engine, request: Request) -> AsyncIterator[GenerationEvent]:
    async with aclosing(engine.astream(request)) as events:
        async for event in events:
            yield event
