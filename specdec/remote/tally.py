"""What one RemoteEngine has asked and got: its EngineStats."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace

from specdec.types import Ending, EngineStats, Speculation


class Tally:
    """Counts from any thread."""

    def __init__(self, speculation: Speculation) -> None:
        self._lock = threading.Lock()
        self._stats = EngineStats(speculation=speculation)

    @property
    def stats(self) -> EngineStats:
        with self._lock:
            return self._stats

    def began(self) -> None:
        self._add(active=1)

    def left(self, *, cancelled: bool) -> None:
        """A request that came to nothing, or whose reader went away."""
        self._add(active=-1, cancelled=int(cancelled))

    def finished(self, end: Ending) -> None:
        """A request that came to its end."""
        self._add(
            active=-1,
            finished=1,
            **asdict(end.usage),
            rounds=end.stats.rounds,
            drafted=end.stats.drafted,
            accepted=end.stats.accepted,
        )

    def _add(self, **counts: int) -> None:
        with self._lock:
            new = {name: getattr(self._stats, name) + n for name, n in counts.items()}
            self._stats = replace(self._stats, **new)
