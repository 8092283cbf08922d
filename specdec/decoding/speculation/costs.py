"""How long a round takes, learnt from how long rounds took."""

from __future__ import annotations

from bisect import bisect_left, insort

_SMOOTHING = 0.1
_OUTLIER = 2.0


class CostCurve:
    """Seconds as a function of a size, interpolated between the sizes that were measured.

    Times are noisy upwards only: a run that took twice as long as known is an outlier, one that took half as long is
    news. What is known of one size bounds the others: a larger size costs no less, and at most in proportion.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds: dict[int, float] = {}
        self._estimates: dict[int, float] = {}

    def __contains__(self, size: int) -> bool:
        """Whether this size itself was measured."""
        return size in self._seconds

    def __bool__(self) -> bool:
        """Whether any was."""
        return bool(self._seconds)

    def observe(self, size: int, seconds: float) -> None:
        """Move the estimate at `size` towards a measurement."""
        self._estimates.clear()
        known = self._seconds.get(size)
        if known is None:
            insort(self._sizes, size)
        if known is None or seconds < known / _OUTLIER:
            self._seconds[size] = seconds
        else:
            self._seconds[size] = known + _SMOOTHING * (min(seconds, known * _OUTLIER) - known)

    def estimate(self, size: int) -> float:
        """Seconds at `size`; 0 when nothing was measured."""
        if size not in self._estimates and self._sizes:
            bounds = [self._seconds[s] * max(size / s, 1.0) for s in self._sizes]
            # linear between neighbours, and along the last two beyond them
            at = min(max(bisect_left(self._sizes, size), 1), len(self._sizes) - 1)
            low, high = self._sizes[at - 1], self._sizes[at]
            slope = max((self._seconds[high] - self._seconds[low]) / max(high - low, 1), 0.0)
            self._estimates[size] = min(self._seconds[low] + slope * max(size - low, 0), *bounds)
        return self._estimates.get(size, 0.0)
