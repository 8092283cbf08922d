"""The speculation controller: how many tokens to draft in the next round, and from which drafter.

It maximises expected tokens per second from measured round times and learnt acceptance, 0 drafts included. A source
that was dropped is probed again at growing intervals, so that "off" is never permanent. It looks at drafts'
sources and lengths, never at what the target is about to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from specdec.local.acceptance import Acceptance
from specdec.local.costs import CostCurve

_LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
_MIN_GAIN = 1.03  # below this the difference drowns in noise, and plain is the safe side
_PROBE_LENGTH = 2
_TRUSTED = (
    0.8  # a source that is known to be this good and still does not pay costs too much: no hurry to probe it
)
_EXPLORE = 24  # rounds between tries of a longer draft
_PROBE_FIRST, _PROBE_LAST = 24, 768  # rounds between probes of a source that does not pay


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
class Plan:
    """One choice a row, and what the round is expected to yield."""

    choices: tuple[Choice, ...]
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class _Scored:
    """A row with the tokens it may expect: `yields[i][k]` from drafting k tokens by option i."""

    row: Row
    yields: list[list[float]]

    @classmethod
    def of(cls, row: Row) -> _Scored:
        return cls(row, [cls._yields(row, option) for option in row.options])

    @staticmethod
    def _yields(row: Row, option: Option) -> list[float]:
        rates = row.acceptance.rates(option.source, max(min(option.length, row.room), 0))
        return list(accumulate(accumulate(rates, mul), initial=1.0))

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


@dataclass(slots=True)
class _Probe:
    interval: int = _PROBE_FIRST
    waited: int = 0


class Controller:
    """Plans rounds and learns from them. One per engine; used by its worker only."""

    def __init__(self) -> None:
        self.acceptance = Acceptance()
        self.verify_cost = CostCurve()
        """Seconds by rows of the target's pass (sequences x (drafts + 1))."""
        self.draft_costs: dict[str, CostCurve] = {}
        """Seconds by drafted steps, per drafter that is not free."""
        self.reason = "no round yet"
        self._probes: dict[str, _Probe] = {}
        self._rounds = 0

    def plan(self, rows: Sequence[Row]) -> Plan:
        """The choice with the most expected tokens per second; rows with `forced` are taken as they are."""
        self._rounds += 1
        scored = [_Scored.of(row) for row in rows]
        plain = self._evaluate(scored, 0, None)
        paid = sorted({o.drafter for r in rows for o in r.options if not o.free})
        longest = max((len(y) - 1 for s in scored for y in s.yields), default=0)
        plans = [self._evaluate(scored, k, p) for k in _LENGTHS if k <= longest for p in (None, *paid)]
        drafting = [p for p in plans if any(c.length for c in p.choices)]
        best = max(drafting, key=lambda p: p.tokens_per_second, default=None)
        pays = best is not None and best.tokens_per_second > plain.tokens_per_second * _MIN_GAIN
        if any(row.room > 0 and row.forced is None for row in rows):
            self.reason = self._reason(plain, best, pays)
        chosen = best if best is not None and pays else plain
        return Plan(tuple(map(self._probed, rows, chosen.choices)), chosen.tokens_per_second)

    def observe(self, row: Row, option: Option, drafted: int, accepted: int) -> None:
        """Learn from what became of one row's drafts."""
        row.acceptance.observe(option.source, drafted, accepted)
        probe = self._probes.setdefault(option.source, _Probe())
        if accepted == drafted and row.acceptance.rates(option.source, 1)[0] < _TRUSTED:
            probe.interval = 1  # better than thought: look closer at once
        elif probe.waited >= probe.interval:
            probe.interval = min(max(probe.interval, _PROBE_FIRST // 2) * 2, _PROBE_LAST)
        probe.waited = 0

    def off_reason(self) -> str | None:
        """Why the last plan drafted nothing, or None if it drafted."""
        return self.reason if self.reason.startswith("off") else None

    def _evaluate(self, scored: Sequence[_Scored], length: int, paid: str | None) -> Plan:
        best = [s.best(length, paid) for s in scored]
        choices = tuple(choice for choice, _ in best)
        return Plan(choices, sum(tokens for _, tokens in best) / max(self._seconds(choices), 1e-9))

    def _seconds(self, choices: Sequence[Choice]) -> float:
        width = 1 + max((c.length for c in choices), default=0)
        seconds = self.verify_cost.estimate(len(choices) * width)
        steps: dict[str, int] = {}
        for c in choices:
            if c.option and not c.option.free:
                steps[c.option.drafter] = max(steps.get(c.option.drafter, 0), c.length)
        return seconds + sum(self.draft_costs[name].estimate(k) for name, k in steps.items())

    @staticmethod
    def _reason(plain: Plan, best: Plan | None, pays: bool) -> str:
        if best is None:
            return "off: nothing to draft from"
        rates = f"{plain.tokens_per_second:.0f} -> {best.tokens_per_second:.0f} tok/s"
        if not pays:
            return f"off: drafting costs more than it saves: {rates}"
        names = sorted({c.option.drafter for c in best.choices if c.option})
        return f"on: {' and '.join(names)}, {max(c.length for c in best.choices)} a round: {rates}"

    def _probed(self, row: Row, choice: Choice) -> Choice:
        """The choice itself, or now and then something next to it, so that what is believed gets measured again."""
        if row.forced is not None:
            return choice
        return self._longer(row, choice) if choice.option else self._probe(row)

    def _longer(self, row: Row, choice: Choice) -> Choice:
        """One step longer every so many rounds: its cost may be remembered from a busy moment."""
        if self._rounds % _EXPLORE or choice.option is None:
            return choice
        longer = next((k for k in _LENGTHS if k > choice.length), choice.length)
        return Choice(choice.option, min(longer, choice.option.length, row.room))

    def _probe(self, row: Row) -> Choice:
        """A short draft from a source that has not been tried for long, or nothing."""
        for option in row.options:
            probe = self._probes.setdefault(option.source, _Probe())
            probe.waited += 1
            length = min(_PROBE_LENGTH, option.length, row.room)
            if length > 0 and probe.waited >= probe.interval:
                return Choice(option, length)
        return Choice()
