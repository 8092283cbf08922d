"""Counters of a server's Prometheus page: what speculation did for everybody, since the server began."""

from __future__ import annotations

import re
from dataclasses import dataclass

from specdec.types.speculation import acceptance_length

DRAFTS = "vllm:spec_decode_num_drafts_total"
_DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
_ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{.*\})? ([0-9.eE+-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Speculated:
    """Rounds, and the tokens that were drafted and accepted in them."""

    rounds: int
    drafted: int
    accepted: int

    @classmethod
    def of(cls, page: str) -> Speculated | None:
        """None where the server does not speculate, or does not count."""
        found = counters(page)
        if DRAFTS not in found:
            return None
        return cls(int(found[DRAFTS]), int(found.get(_DRAFTED, 0)), int(found.get(_ACCEPTED, 0)))

    def since(self, before: Speculated) -> Speculated:
        return Speculated(self.rounds - before.rounds, self.drafted - before.drafted, self.accepted - before.accepted)

    @property
    def acceptance_length(self) -> float | None:
        return acceptance_length(self.rounds, self.accepted)


def counters(page: str) -> dict[str, float]:
    """Each metric's sum over its labels: one for every engine of a data-parallel server."""
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(page):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums
