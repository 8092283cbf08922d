"""The speculation controller: how many tokens to draft in the next round, and from which drafter.

It maximises expected tokens per second from measured round times and learnt acceptance, 0 drafts included. A source
that was dropped is probed again at growing intervals, so that "off" is never permanent. It looks at drafts'
sources and lengths, never at what the target is about to say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import attrgetter, mul

from specdec.decoding.speculation.acceptance import Acceptance
from specdec.decoding.speculation.chunks import ChunkCosts
from specdec.decoding.speculation.costs import CostCurve
from specdec.decoding.speculation.probes import Probes
from specdec.decoding.speculation.ready import EVERYTHING, Ready
from specdec.types import Speculation

_LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
_MIN_GAIN = 1.03  # below this the difference drowns in noise, and plain is the safe side
_PROBE_LENGTH = 2
_ENOUGH, _LOW = 50, 0.3  # drafts after which acceptance is judged, and what is low
_EXPLORE = 24  # rounds between tries of a longer draft


@dataclass(frozen=True, slots=True)
class Option:
    """What one drafter could do for one sequence."""

    drafter: str
    source: str
    length: int
    free: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence of the round that is planned."""

    acceptance: Acceptance
    options: Sequence[Option]
    room: int
    """No more drafts than this."""
    forced: int | None
    """Draft exactly this many where possible, or None to choose."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Draft `length` tokens by `option`; length 0 is a plain row."""

    option: Option | None = None
    length: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One choice a row, and what the round is expected to yield."""

    choices: tuple[Choice, ...]
    tokens_per_second: float
    """With what is ready; 0 where nothing is."""
    possible: float
    """If a round of exactly this length were ready."""
    length: int
    """Drafts of the row with most."""
    drafter: str | None
    """Who drafts on the device (see `Ready`)."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """A row with the tokens it may expect: `yields[i][k]` from drafting k tokens by option i."""

    row: Row
    yields: list[list[float]]

    @classmethod
    def of(cls, row: Row) -> _Scored:
        rates = [row.acceptance.rates(o.source, max(min(o.length, row.room), 0)) for o in row.options]
        return cls(row, [list(accumulate(accumulate(chances, mul), initial=1.0)) for chances in rates])

    def best(self, length: int, paid: str | None) -> tuple[Choice, float]:
        """The choice with the highest yield at up to `length` drafts, and that yield."""
        row, best = self.row, (Choice(), 1.0)
        wanted = length if row.forced is None else row.forced
        for option, yields in zip(row.options, self.yields, strict=True):
            k = min(wanted, len(yields) - 1)
            usable = option.free or option.drafter == paid or row.forced is not None
            if usable and k > 0 and yields[k] > best[1]:
                best = Choice(option, k), yields[k]
        return best


class Controller:
    """Plans rounds and learns from them. One per engine; used by its worker only."""

    def __init__(self) -> None:
        self.acceptance = Acceptance()
        self.verify_cost = CostCurve()
        """Seconds by rows of the target's pass (sequences x (drafts + 1))."""
        self.chunk_costs = ChunkCosts(self.verify_cost)
        """Seconds of a chunk of a prompt."""
        self.draft_costs: defaultdict[str, CostCurve] = defaultdict(CostCurve)
        """Seconds by drafted steps, per drafter that is not free."""
        self.read_costs: defaultdict[str, ChunkCosts] = defaultdict(lambda: ChunkCosts(CostCurve()))
        """Seconds of a chunk that a drafter reads."""
        self.between_cost = CostCurve()
        """Seconds from one round to the next, by sequences: a round with drafts spreads them over more tokens."""
        self.host_cost = CostCurve()
        """Seconds that a round waits for the host when drafts come from there, where others do not (always size 1)."""
        self.decision = Speculation()
        """What the last plan came to."""
        self.warning: str | None = None
        """Set while a drafter that costs something is hardly ever right."""
        self._probes = Probes()
        self._rounds = 0
        self._tried: Counter[str] = Counter()

    def plan(self, rows: Sequence[Row], ready: Ready = EVERYTHING) -> tuple[Choice, ...]:
        """One choice a row, with the most expected tokens per second together, of what is `ready`; rows with `forced`
        are taken as they are. What would have been better still is noted as missed."""
        self._rounds += 1
        if not any(row.options for row in rows):
            if any(row.room > 0 and row.forced is None for row in rows):
                self.decision = Speculation(why="nothing to draft from")
            return (Choice(),) * len(rows)
        scored = [_Scored.of(row) for row in rows]
        plain = self._evaluate(scored, 0, None, ready)
        options = [option for row in rows for option in row.options]
        drafters: list[str | None] = [None] if any(o.free for o in options) else []  # None: those that cost nothing
        drafters += sorted({o.drafter for o in options if not o.free})
        longest = max((len(y) - 1 for s in scored for y in s.yields), default=0)
        lengths = _LENGTHS if any(row.forced is None for row in rows) else _LENGTHS[:1]  # what is forced has one
        plans = [self._evaluate(scored, k, p, ready) for k in lengths if k <= longest for p in drafters]
        drafting = [p for p in plans if p.length]
        best = max(drafting, key=attrgetter("tokens_per_second"), default=None)
        pays = best is not None and best.tokens_per_second > plain.tokens_per_second * _MIN_GAIN
        if any(row.room > 0 and row.forced is None for row in rows):
            self.decision = _decision(plain, best, pays=pays)
        chosen = best if best is not None and pays else plain
        wished = max(drafting, key=attrgetter("possible"), default=None)
        if wished and wished.possible > _MIN_GAIN * max(chosen.tokens_per_second, wished.tokens_per_second):
            ready.miss(wished.drafter, wished.length)
        self._probes.tick(option.source for option in options)
        return tuple(self._probed(row, choice, ready) for row, choice in zip(rows, chosen.choices, strict=True))

    def saving(self, memory: Acceptance, option: Option, together: int) -> float:
        """Seconds that drafts by this option save for each token of a sequence, among so many like it; 0 where they do
        not pay."""
        scored = [_Scored.of(Row(memory, [option], option.length, None))] * together
        plain, *drafting = (self._evaluate(scored, k, option.drafter, EVERYTHING).possible for k in (0, *_LENGTHS))
        best = max(drafting)
        return together / plain - together / best if best > _MIN_GAIN * plain else 0.0

    def observe(self, memory: Acceptance, option: Option, drafted: int, accepted: int) -> None:
        """Learn from what became of one sequence's drafts."""
        chance = prod(memory.rates(option.source, drafted))
        memory.observe(option.source, drafted, accepted)
        self._probes.tried(option.source, success=accepted == drafted, chance=chance)
        if option.free:
            return
        self._tried[option.drafter] += 1
        rate = self.acceptance.rates(option.source, 1)[0]
        low = self._tried[option.drafter] >= _ENOUGH and rate < _LOW
        self.warning = (
            f"low acceptance: of the draft {option.drafter}'s first tokens {rate:.0%} are accepted; "
            "a draft that is nearer to this target, or to these texts, would make answers faster"
            if low
            else None
        )

    def _evaluate(self, scored: Sequence[_Scored], length: int, paid: str | None, ready: Ready) -> _Candidate:
        best = [s.best(length, paid) for s in scored]
        choices = tuple(choice for choice, _ in best)
        tokens, longest = sum(tokens for _, tokens in best), max(c.length for c in choices)
        drafter = next((c.option.drafter for c in choices if c.option and not c.option.free), None)
        size = ready.size(drafter, longest)
        possible = tokens / self._seconds(choices, longest)
        if size is None:
            return _Candidate(choices, 0.0, possible, longest, drafter)
        rate = possible if size == longest else tokens / self._seconds(choices, size)
        return _Candidate(choices, rate, possible, longest, drafter)

    def _seconds(self, choices: Sequence[Choice], size: int) -> float:
        """What a round of these choices takes, if it is filled up to `size` drafts a row."""
        seconds = self.verify_cost.estimate(len(choices) * (1 + size)) + self.between_cost.estimate(len(choices))
        steps: dict[str, int] = {}
        for c in choices:
            if c.option and not c.option.free:
                steps[c.option.drafter] = max(steps.get(c.option.drafter, 0), c.length)
        if len(steps) == 1:
            steps = dict.fromkeys(steps, size)
        if any(c.option and c.option.free for c in choices):
            seconds += self.host_cost.estimate(1)
        seconds += sum(self.draft_costs[name].estimate(k) for name, k in steps.items())
        return max(seconds, 1e-9)

    def _probed(self, row: Row, choice: Choice, ready: Ready) -> Choice:
        """The choice itself, or now and then something next to it, so that what is believed gets measured again."""
        if row.forced is not None:
            return choice
        # from a source that was not tried for long: short, unless it costs nothing beside the choice
        for option in row.options:
            wanted = max(choice.length, _PROBE_LENGTH) if option.free and choice.option else _PROBE_LENGTH
            length = min(wanted, option.length, row.room)
            due = self._probes.due(option.source, beside=choice.option is not None)
            if length > 0 and option != choice.option and due and ready.size(_drafter(option), length):
                return Choice(option, length)
        # one step longer every so many rounds: its cost may be remembered from a busy moment
        if self._rounds % _EXPLORE or choice.option is None:
            return choice
        longer = next((k for k in _LENGTHS if k > choice.length), choice.length)
        longer = ready.size(_drafter(choice.option), longer) or choice.length
        return Choice(choice.option, min(longer, choice.option.length, row.room))


def _drafter(option: Option) -> str | None:
    """Who drafts on the device."""
    return None if option.free else option.drafter


def _decision(plain: _Candidate, best: _Candidate | None, *, pays: bool) -> Speculation:
    if best is None:
        return Speculation(why="nothing to draft from")
    return Speculation(
        on=pays,
        why="pays" if pays else "does not pay",
        drafters=tuple(sorted({c.option.drafter for c in best.choices if c.option})),
        length=best.length,
        plain_rate=plain.tokens_per_second,
        rate=best.tokens_per_second,
    )
