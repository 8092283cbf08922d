"""Which rounds there are graphs for, and which there should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from specdec.decoding.rounds.choosing import Shaping
from specdec.models.graphs import Graphs
from specdec.types import MAX_SPECULATIVE_TOKENS

HOST = "host"
"""Where drafts come from that no drafter makes on the device."""
_LENGTHS = (2, 4, 6, 8, 12, MAX_SPECULATIVE_TOKENS)
_GIVEN = (4, 8, MAX_SPECULATIVE_TOKENS)
_SHARED = (2, 4)
"""Numbers of drafts that are usual: of one sequence from a drafter and from the host, and of several sequences."""
_FEW = 32
"""Sequences for which drafts are likely to pay; logits of more, with drafts, take much memory too."""
_GREEDY, _DRAWN = Shaping(), Shaping(drawn=True)
_ANY = Shaping(drawn=True, limited=True)


@dataclass(frozen=True, slots=True)
class RoundKind:
    """What tells one graph from another."""

    rows: int
    drafts: int = 0
    source: str | None = None
    """The drafter on the device, HOST for drafts that are given, None where there are none."""
    shaping: Shaping = _GREEDY

    @property
    def work(self) -> tuple[int, int]:
        """What orders kinds by what they cost."""
        shaping = self.shaping
        return self.rows * (1 + self.drafts), shaping.drawn + shaping.limited

    def serves(self, other: RoundKind) -> bool:
        """Whether a round of the `other` kind can be filled up to one of this kind."""
        return (
            self.source == other.source
            and self.rows >= other.rows
            and self.drafts >= other.drafts
            and self.shaping.covers(other.shaping)
        )


def lengths(longest: int, usual: Sequence[int] = _LENGTHS) -> list[int]:
    """The numbers of drafts that get graphs, for a drafter that proposes up to `longest`. `longest` is one of them:
    filling a round up beyond it may cost another tile of rows."""
    return sorted({min(k, longest) for k in usual})


def likely(sizes: Sequence[int], drafters: Mapping[str, int], usual: Shaping = _DRAWN) -> Iterator[RoundKind]:
    """The kinds that answers begin with: many numbers of drafts for one sequence, greedy and drawn; a few for several
    sequences, and for other sampling. `drafters`: how many tokens each proposes at most. `usual`: how answers are drawn
    whose requests do not say it."""
    one = sizes[0]
    for shaping in (_GREEDY, usual):
        yield RoundKind(one, shaping=shaping)
        yield from (RoundKind(one, k, name, shaping) for name, most in drafters.items() for k in lengths(most))
        yield from (RoundKind(one, k, HOST, shaping) for k in _GIVEN)
    few = [size for size in sizes if size <= _FEW]
    for rows, shaping in [*((size, usual) for size in sizes[1:]), (few[-1], _ANY), (one, _ANY)]:
        yield RoundKind(rows, shaping=shaping)
        if rows <= _FEW:
            shared = ((k, name) for name, most in drafters.items() for k in lengths(most, _SHARED))
            yield from (RoundKind(rows, k, name, shaping) for k, name in shared)
            yield RoundKind(rows, _SHARED[-1], HOST, shaping)


class RoundGraphs:
    """The graphs of rounds; a round without one is filled up to the next larger that has one."""

    def __init__(self, graphs: Graphs[RoundKind, Tensor]) -> None:
        self._graphs = graphs
        self._found: dict[RoundKind, RoundKind | None] = {}

    @property
    def nbytes(self) -> int:
        """Device memory that they take."""
        return self._graphs.nbytes

    @property
    def wanted(self) -> RoundKind | None:
        """What was missed most often."""
        return self._graphs.wanted

    def __contains__(self, kind: RoundKind) -> bool:
        return kind in self._graphs

    def find(self, wanted: RoundKind) -> RoundKind | None:
        """The smallest kind that serves and has a graph."""
        if wanted in self._graphs:
            return wanted
        if wanted not in self._found:
            serving = [kind for kind in self._graphs if kind.serves(wanted)]
            self._found[wanted] = min(serving, key=lambda kind: kind.work, default=None)
        return self._found[wanted]

    def miss(self, kind: RoundKind) -> None:
        """Note that its graph would have been of use."""
        self._graphs.miss(kind)

    def make(self, kind: RoundKind, record: Callable[[], Tensor], *, ran: bool = False) -> None:
        """See `Graphs.make`."""
        self._graphs.make(kind, record, ran=ran)
        self._found.clear()

    def run(self, kind: RoundKind, record: Callable[[], Tensor]) -> Tensor:
        """What `record` gives, by the graph."""
        return self._graphs.run(kind, record)


@dataclass(frozen=True, slots=True)
class ReadyRounds:
    """What there are graphs for, for the rows of one round (see `speculation.ready.Ready`)."""

    graphs: RoundGraphs
    none: RoundKind
    """The round without drafts."""
    drafters: Sequence[str]
    """Who drafts on the device: for others the host leads, and any number will do."""

    def size(self, drafter: str | None, length: int) -> int | None:
        """See `Ready.size`."""
        if drafter is not None and drafter not in self.drafters:
            return length
        found = self.graphs.find(self._kind(drafter, length))
        return None if found is None else found.drafts

    def miss(self, drafter: str | None, length: int) -> None:
        """See `Ready.miss`."""
        if drafter is None or drafter in self.drafters:
            self.graphs.miss(self._kind(drafter, length))

    def _kind(self, drafter: str | None, length: int) -> RoundKind:
        source = (drafter or HOST) if length else None
        return RoundKind(self.none.rows, length, source, self.none.shaping)
