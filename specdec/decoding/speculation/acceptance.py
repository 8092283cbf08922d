"""How likely a draft is to be accepted, by source and position, learnt from what was.

Two levels: the engine's long memory is the prior of each sequence's short one, so a new request starts from
experience and soon follows its own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from specdec.types import MAX_SPECULATIVE_TOKENS

_UNKNOWN = 0.6  # before anything was seen: worth a try, soon corrected


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is believed of one source, as long as the long memory believes the same."""

    prior: Estimate | None
    rates: list[float]
    """The chance of each position, given that all before it were accepted."""
    yields: list[float]
    """The tokens that a round may expect from 0, 1, 2 and more drafts: those that are accepted, and one more."""


class Acceptance:
    """Decayed counts of conditional acceptance: position i counts only where all before it were accepted."""

    def __init__(self, parent: Acceptance | None = None) -> None:
        self._parent = parent
        self._decay, self._prior_weight = (0.9, 4.0) if parent else (0.98, 2.0)
        self._counts: dict[str, tuple[list[float], list[float]]] = {}
        self._known: dict[str, Estimate] = {}

    def estimate(self, source: str) -> Estimate:
        """For any number of drafts. Every round asks for it, for each of its sequences; mostly nothing has changed."""
        prior = self._parent.estimate(source) if self._parent else None
        known = self._known.get(source)
        if known is None or known.prior is not prior:
            if prior is not None and source not in self._counts:
                known = Estimate(prior, prior.rates, prior.yields)
            else:
                rates = self._rates(source, prior)
                known = Estimate(prior, rates, list(accumulate(accumulate(rates, mul), initial=1.0)))
            self._known[source] = known
        return known

    def _rates(self, source: str, prior: Estimate | None) -> list[float]:
        hits, trials = self._counts.get(source, ((), ()))
        rates: list[float] = []
        for i in range(MAX_SPECULATIVE_TOKENS):
            # a position never seen is taken to be like the one before it
            expected = prior.rates[i] if prior else (rates[-1] if rates else _UNKNOWN)
            h, n = (hits[i], trials[i]) if hits else (0.0, 0.0)
            rates.append((h + self._prior_weight * expected) / (n + self._prior_weight))
        return rates

    def observe(self, source: str, drafted: int, accepted: int) -> None:
        """Remember one round's outcome, here and in the long memory."""
        self._known.pop(source, None)
        width = MAX_SPECULATIVE_TOKENS
        hits, trials = self._counts.setdefault(source, ([0.0] * width, [0.0] * width))
        for i in range(min(accepted + 1, drafted)):
            hits[i] = hits[i] * self._decay + (i < accepted)
            trials[i] = trials[i] * self._decay + 1
        if self._parent:
            self._parent.observe(source, drafted, accepted)
