"""The contract of verify rounds: a `Plan` is submitted, its outcomes are collected.

There are two implementations. `device.DeviceRounds` runs those plans that need nothing of the host but drafts, as one
graph, some rounds ahead. `host.HostRounds` runs any plan, step by step. `runner.RoundRunner` chooses between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from specdec.decoding.rounds.drafting import Offers
from specdec.decoding.sequence import Outcome, Running
from specdec.decoding.speculation.controller import Choice
from specdec.decoding.speculation.ready import Ready
from specdec.sampling.batch import SamplingBatch


@dataclass(frozen=True, slots=True)
class Plan:
    """One round: its rows, by slot, and what each shall draft."""

    rows: list[Running]
    sampling: SamplingBatch
    choices: tuple[Choice, ...]
    offers: Offers
    """What the free drafters propose, already."""


Outcomes = dict[Running, Outcome]


class Rounds(Protocol):
    """Runs rounds over one target and its drafters."""

    @property
    def pending(self) -> bool:
        """Whether a submitted round was not collected yet."""
        ...

    def ready(self, sampling: SamplingBatch) -> Ready:
        """Which numbers of drafts can be planned for these rows."""
        ...

    def accepts(self, plan: Plan) -> bool:
        """Whether this plan can be submitted now."""
        ...

    def submit(self, plan: Plan) -> None:
        """Start what there is room for: it may be nothing."""
        ...

    def collect(self) -> Outcomes:
        """Wait for the round that was submitted first."""
        ...

    def warm_up(self, defaults: Mapping[str, float]) -> None:
        """What would otherwise make the first answers wait. `defaults`: the checkpoint's own sampling parameters."""
        ...

    def prepare(self) -> bool:
        """Make one thing ready that was missed, or is likely to be; False where there is nothing left. For when no
        request is there: it takes up to some tenths of a second."""
        ...
