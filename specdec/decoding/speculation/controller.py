"""The speculation controller: how many tokens to draft in the next round, and from which drafter.

It maximises expected tokens per second from measured round times and learnt acceptance, 0 drafts included. A source
that was dropped is probed again at growing intervals, so that "off" is never permanent. It looks at drafts'
sources and lengths, never at what the target is about to say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from operator import attrgetter

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

    picks: list[tuple[Option | None, int]]
    """By whom each row drafts how many tokens."""
    tokens_per_second: float
    """With what is ready; 0 where nothing is."""
    possible: float
    """If a round of exactly this length were ready."""
    length: int
    """Drafts of the row with most."""
    drafter: str | None
    """Who drafts on the device (see `Ready`)."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        return tuple(_PLAIN if option is None else Choice(option, length) for option, length in self.picks)


_PLAIN = Choice()
_Offers = list[tuple[Option, list[float], int]]
"""What a row could draft by, the tokens it may expect from 0, 1, 2 and more drafts, and how many it makes at most."""


def _offers(row: Row) -> _Offers:
    most = [(option, min(option.length, row.room)) for option in row.options]
    return [(option, row.acceptance.estimate(option.source).yields, length) for option, length in most if length > 0]


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
        choosing = any(row.forced is None for row in rows)
        decides = any(row.room > 0 and row.forced is None for row in rows)
        if not any(row.options for row in rows):
            if decides:
                self.decision = Speculation(why="nothing to draft from")
            return (_PLAIN,) * len(rows)
        options = [option for row in rows for option in row.options]
        scored = [(row.forced, _offers(row)) for row in rows]
        plain = self._evaluate(scored, 0, None, ready)
        rounds = self._candidates(scored, options, ready) if choosing else [plain]  # what is forced is one round
        drafting = [candidate for candidate in rounds if candidate.length]
        best = max(drafting, key=attrgetter("tokens_per_second"), default=None)
        pays = best is not None and best.tokens_per_second > plain.tokens_per_second * _MIN_GAIN
        if decides:
            self.decision = _decision(plain, best, pays=pays)
        chosen = best if best is not None and pays else plain
        wished = max(drafting, key=attrgetter("possible"), default=None)
        if wished and wished.possible > _MIN_GAIN * max(chosen.tokens_per_second, wished.tokens_per_second):
            ready.miss(wished.drafter, wished.length)
        sources = {option.source for option in options}
        self._probes.tick(sources)
        if not choosing or (self._rounds % _EXPLORE and not self._probes.any_due(sources)):
            return chosen.choices
        return tuple(self._probed(row, choice, ready) for row, choice in zip(rows, chosen.choices, strict=True))

    def saving(self, memory: Acceptance, option: Option, together: int) -> float:
        """Seconds that drafts by this option save for each token of a sequence, among so many like it; 0 where they do
        not pay."""
        rows = [(None, _offers(Row(memory, [option], option.length, None)))]
        plain, *drafting = (
            self._evaluate(rows, k, option.drafter, EVERYTHING, alike=together).possible for k in (0, *_LENGTHS)
        )
        best = max(drafting)
        return together / plain - together / best if best > _MIN_GAIN * plain else 0.0

    def observe(self, memory: Acceptance, option: Option, drafted: int, accepted: int) -> None:
        """Learn from what became of one sequence's drafts."""
        chance = prod(memory.estimate(option.source).rates[:drafted])
        memory.observe(option.source, drafted, accepted)
        self._probes.tried(option.source, success=accepted == drafted, chance=chance)
        if option.free:
            return
        self._tried[option.drafter] += 1
        if self._tried[option.drafter] < _ENOUGH:
            return
        rate = self.acceptance.estimate(option.source).rates[0]
        self.warning = (
            f"low acceptance: of the draft {option.drafter}'s first tokens {rate:.0%} are accepted; "
            "a draft that is nearer to this target, or to these texts, would make answers faster"
            if rate < _LOW
            else None
        )

    def _candidates(
        self, rows: Sequence[tuple[int | None, _Offers]], options: Sequence[Option], ready: Ready
    ) -> list[_Candidate]:
        """Rounds of every length, by each drafter that costs something and by those alone that do not."""
        drafters: list[str | None] = [None] if any(option.free for option in options) else []
        drafters += sorted({option.drafter for option in options if not option.free})
        longest = max((most for _, offers in rows for _, _, most in offers), default=0)
        return [self._evaluate(rows, k, paid, ready) for k in _LENGTHS if k <= longest for paid in drafters]

    def _evaluate(
        self,
        rows: Sequence[tuple[int | None, _Offers]],
        length: int,
        paid: str | None,
        ready: Ready,
        *,
        alike: int = 1,
    ) -> _Candidate:
        """Each row's choice with the highest yield at up to `length` drafts, or what is forced; so many rows alike."""
        tokens, longest, given = 0.0, 0, False
        picks: list[tuple[Option | None, int]] = []
        steps: dict[str, int] = {}
        for forced, offers in rows:
            best, option, drafts = 1.0, None, 0
            wanted = length if forced is None else forced
            for offer, yields, most in offers:
                k = min(most, wanted)
                if yields[k] > best and (offer.free or offer.drafter == paid or forced is not None):
                    best, option, drafts = yields[k], offer, k
            picks.append((option, drafts))
            tokens += best
            if option is not None:
                longest = max(longest, drafts)
                if option.free:
                    given = True
                else:
                    steps[option.drafter] = max(steps.get(option.drafter, 0), drafts)
        drafter, count = next(iter(steps), None), len(picks) * alike
        size = ready.size(drafter, longest)
        possible = alike * tokens / self._seconds(count, longest, steps, given=given)
        rate = possible if size == longest else 0.0
        if size not in (None, longest):
            rate = alike * tokens / self._seconds(count, size, steps, given=given)
        return _Candidate(picks, rate, possible, longest, drafter)

    def _seconds(self, count: int, size: int, steps: dict[str, int], *, given: bool) -> float:
        """What a round of so many rows takes, if it is filled up to `size` drafts a row: by drafters that make these
        numbers of them, and some `given` by free ones."""
        seconds = self.verify_cost.estimate(count * (1 + size)) + self.between_cost.estimate(count)
        if len(steps) == 1:
            steps = dict.fromkeys(steps, size)
        if given:
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
        drafters=tuple(sorted({option.drafter for option, _ in best.picks if option})),
        length=best.length,
        plain_rate=plain.tokens_per_second,
        rate=best.tokens_per_second,
    )
