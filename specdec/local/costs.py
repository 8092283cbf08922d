"""How long a round takes, learnt from how long rounds took."""

from __future__ import annotations

from bisect import bisect_left

_SMOOTHING = 0.1


class CostCurve:
    """Seconds as a function of a size, interpolated between the sizes that were measured."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds: dict[int, float] = {}

    def observe(self, size: int, seconds: float) -> None:
        """Move the estimate at `size` towards a measurement; one outlier moves it by a tenth of itself at most."""
        if size not in self._seconds:
            self._sizes.insert(bisect_left(self._sizes, size), size)
            self._seconds[size] = seconds
            return
        known = self._seconds[size]
        self._seconds[size] = known + _SMOOTHING * (min(max(seconds, known / 2), known * 2) - known)

    def estimate(self, size: int) -> float:
        """Linear between neighbours, and along the last two beyond them; 0 when nothing was measured."""
        if size in self._seconds:
            return self._seconds[size]
        if not self._sizes:
            return 0.0
        if len(self._sizes) == 1:
            return self._seconds[self._sizes[0]]
        at = min(max(bisect_left(self._sizes, size), 1), len(self._sizes) - 1)
        low, high = self._sizes[at - 1], self._sizes[at]
        slope = (self._seconds[high] - self._seconds[low]) / (high - low)
        return max(self._seconds[low] + max(slope, 0.0) * (size - low), 0.0)
