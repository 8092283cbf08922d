"""When to try again a source that does not pay, so that "off" is never for ever and costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

NEW, FIRST, LAST = 4, 24, 768
"""Rounds until a source is tried for the first time beside one that pays; between tries: doubled with each that brings
no news."""
_SURPRISE = 0.25
"""A try that went so well against so small a chance is news: the next one follows at once."""


@dataclass(slots=True)
class _Source:
    interval: int = FIRST
    waited: int = 0
    tried: bool = False


@dataclass(slots=True)
class Probes:
    """Counts, per source, the rounds since it was last drafted from."""

    _sources: dict[str, _Source] = field(default_factory=dict)

    def tick(self, sources: Iterable[str]) -> None:
        """One more round in which these could be drafted from."""
        for name in set(sources):
            self._sources.setdefault(name, _Source()).waited += 1

    def due(self, name: str, *, beside: bool) -> bool:
        """Whether it is time; `beside` another source that pays, a round lost on one never tried costs least."""
        source = self._sources[name]
        return source.waited >= (NEW if beside and not source.tried else source.interval)

    def any_due(self, names: Iterable[str]) -> bool:
        """Whether it is time for one of them, beside another or not."""
        return any(self.due(name, beside=True) or self.due(name, beside=False) for name in names)

    def tried(self, name: str, *, success: bool, chance: float) -> None:
        """A draft was accepted as a whole, or not; `chance` of that was expected."""
        source = self._sources.setdefault(name, _Source())
        if success and chance < _SURPRISE:
            source.interval = 1
        elif source.waited >= source.interval:
            source.interval = min(max(source.interval, FIRST // 2) * 2, LAST)
        source.waited, source.tried = 0, True
