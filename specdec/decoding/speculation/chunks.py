"""How long a chunk of a prompt takes, learnt from chunks, and how long one may be."""

from __future__ import annotations

from specdec.decoding.speculation.costs import CostCurve

SIZES = (2048, 1536, 1024, 768, 512, 384, 256, 128, 64, 32)
"""Tokens of a chunk; between them passes are filled up."""
STALL = 0.035
"""Seconds that answers wait for a chunk at most: with the rounds around it a gap of less than 60 ms."""
_NEAR = 2048
"""Positions up to which what lies before a chunk costs next to nothing."""
_FIRST = 256
"""Tokens of a first chunk, of which nothing is known yet."""
_SMOOTHING = 0.3


class ChunkCosts:
    """Seconds of a chunk: so many for its tokens, and more for each token that it comes after.

    `guess` tells the first until it was measured. It is learnt from short passes, so what it says of long ones is not
    believed: a chunk is at most twice as long as one that was measured.
    """

    def __init__(self, guess: CostCurve) -> None:
        self._near, self._known = CostCurve(), guess
        """Of chunks with little before them: what was measured, and what is believed, which is a guess until then."""
        self._tried = _FIRST // 2
        self._pairs: dict[int, float] = {}
        """Seconds for each token of a chunk and each token before it, by the chunk's size: a GPU takes programs in
        waves, so that 768 tokens can cost what 1,024 do."""

    def estimate(self, size: int, start: int) -> float:
        """Seconds of a chunk of `size` tokens behind `start` others."""
        return self._known.estimate(size) + self._looking_back(size, start)

    def longest(self, start: int, seconds: float, most: int) -> int | None:
        """The most tokens, up to `most`, of a chunk that takes no more than so long; None where the least takes
        longer."""
        known = 2 * self._tried if start <= _NEAR or self._pairs else _FIRST
        fitting = (size for size in SIZES if size <= min(known, most))
        return next((size for size in fitting if self.estimate(size, start) <= seconds), None)

    def total(self, start: int, end: int) -> float:
        """Seconds to read all tokens from `start` to `end`, in chunks of the longest that was measured."""
        count = end - start
        size = min(self._tried, count)
        return count / max(size, 1) * self.estimate(size, (start + end) // 2)

    def observe_first(self, size: int, seconds: float) -> None:
        """Learn from a chunk that begins a prompt."""
        self.observe(size, 0, seconds)

    def observe(self, size: int, start: int, seconds: float) -> None:
        """Learn from a chunk of `size` tokens behind `start` others."""
        if start <= _NEAR:
            self._near.observe(size, seconds - self._looking_back(size, start))
            self._known = self._near
            self._tried = max(self._tried, size)
        elif size in SIZES:  # others are filled up
            spent = max(seconds - self.estimate(size, 0), 0.0) / (size * start)
            known = self._pairs.get(size, spent)
            self._pairs[size] = known + _SMOOTHING * (spent - known)

    def _looking_back(self, size: int, start: int) -> float:
        """Seconds for what such a chunk comes after."""
        return self._pairs.get(size, max(self._pairs.values(), default=0.0)) * size * start
