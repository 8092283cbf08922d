"""Rounds that the device leads: draft, verify, accept and commit in one graph, one round ahead of the host.

What the next round starts from stays on the device (`table`), so that it can be launched before the host has seen what
the last one brought. The host gets one small copy a round, and reads it while the next round runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from specdec.decoding.rounds.base import Outcomes, Plan
from specdec.decoding.rounds.choosing import Chooser, Shaping
from specdec.decoding.rounds.clock import Seconds
from specdec.decoding.rounds.kinds import HOST, ReadyRounds, RoundGraphs, RoundKind, likely
from specdec.decoding.rounds.table import SlotTable
from specdec.decoding.sequence import Outcome, Running
from specdec.decoding.speculation.controller import Choice, Controller
from specdec.decoding.speculation.ready import EVERYTHING, Ready
from specdec.drafters.base import DeviceRound, DraftContext, Drafter
from specdec.kernels.launch import stamp
from specdec.kernels.rounds import begin, settle
from specdec.models.base import DECODE_ROWS, DeviceModel, Model
from specdec.models.graphs import Fetched, Graphs, NotCaptured, bucket
from specdec.sampling.batch import SamplingBatch
from specdec.transfer import to_device
from specdec.types import MAX_SPECULATIVE_TOKENS, Round

_AHEAD = 2
"""Rounds under way at once: one that the host waits for, and one behind it."""
_STAMPS = 3


@dataclass(slots=True)
class _Flight:
    plan: Plan
    kind: RoundKind
    result: Fetched
    """As `rounds.settle` gives it."""


class DeviceRounds:
    """Rounds under the coupled accept rule (see `base.Rounds`)."""

    def __init__(
        self,
        target: Model,
        model: DeviceModel,
        drafters: Sequence[Drafter],
        controller: Controller,
        *,
        alone: bool = False,
    ) -> None:
        self._target, self._model, self._controller = target, model, controller
        self._drafters = {d.name: d.device for d in drafters if d.device is not None}
        self._on_device = {d.name: d for d in drafters if d.device is not None}
        readers = [d for d in self._on_device.values() if d.features]
        self._reader = readers[0].device if readers else None
        self._features = readers[0].features if readers else ()
        self._device = target.info.device
        self._table = SlotTable(target.info.slots, model.capacity, self._device)
        self._graphs = RoundGraphs(Graphs(capture=self._device.type == "cuda"))
        self._shaped: tuple[SamplingBatch, Shaping] | None = None
        """The last rows, and how they are shaped."""
        self._ran: RoundKind | None = None
        """What its graph is about to be made of."""
        self._flights: deque[_Flight] = deque()
        self._sizes = model.sizes[:1] if alone else model.sizes
        self._inputs = {rows: torch.zeros(2, rows, dtype=torch.int64, device=self._device) for rows in self._sizes}
        self._sent: dict[int, list[list[int]]] = {}
        self._given = torch.zeros(self._sizes[-1], MAX_SPECULATIVE_TOKENS, dtype=torch.int64, device=self._device)
        self._stamps = torch.zeros(_STAMPS, dtype=torch.int64, device=self._device)

    @property
    def graph_bytes(self) -> int:
        """Device memory that the graphs take, those of the models' passes too."""
        drafters = sum(drafter.graph_bytes for drafter in self._drafters.values())
        return self._graphs.nbytes + self._model.graph_bytes + drafters

    @torch.inference_mode()
    def warm_up(self, defaults: Mapping[str, float]) -> None:
        """See `base.Rounds.warm_up`: the graphs that answers begin with, as far as there is memory. Where that was
        never done Triton first compiles their kernels, for many seconds."""
        drafters = {name: drafter.longest for name, drafter in self._on_device.items()}
        with suppress(torch.OutOfMemoryError, NotCaptured):
            for kind in likely(self._sizes, drafters, Shaping.usual(defaults)):
                self._make(kind)

    def prepare(self) -> bool:
        """See `base.Rounds.prepare`."""
        if (wanted := self._graphs.wanted) is None:
            return False
        if self._ran != wanted:  # a step of its own: many drafts take as long here as in a graph
            self._ran = wanted
            self._record(self._place(None, wanted.rows), wanted)
        else:
            self._make(wanted, ran=True)
        return True

    def _make(self, kind: RoundKind, *, ran: bool = False) -> None:
        """The graph of a round over spare rows, and what such a round costs."""
        if kind not in self._graphs:
            inputs = self._place(None, kind.rows)
            self._graphs.make(kind, lambda: self._record(inputs, kind), ran=ran)
            for _ in range(2):  # the first brings the graph to the device
                values = Fetched(self._round(inputs, kind)).wait()
            self._learn(kind, self._seconds(values), known=False)

    # ---- which rounds

    def ready(self, sampling: SamplingBatch) -> Ready:
        """See `base.Rounds.ready`."""
        if sampling.plain:
            return ReadyRounds(self._graphs, self._kind(sampling, 0, None), tuple(self._drafters))
        return EVERYTHING

    def _kind(self, sampling: SamplingBatch, drafts: int, source: str | None) -> RoundKind:
        if self._shaped is None or self._shaped[0] is not sampling:
            self._shaped = sampling, Shaping.of(sampling.states)
        return RoundKind(bucket(len(sampling.states), self._sizes), drafts, source, self._shaped[1])

    def _planned(self, plan: Plan) -> RoundKind | None:
        """What there is a graph for that takes this plan."""
        source = next((_source(c) for c in plan.choices if c.length), None)
        wanted = self._kind(plan.sampling, max(c.length for c in plan.choices), source)
        found = self._graphs.find(wanted)
        if found is None:
            self._graphs.miss(wanted)
        return found

    @property
    def pending(self) -> bool:
        """See `base.Rounds.pending`."""
        return bool(self._flights)

    def accepts(self, plan: Plan) -> bool:
        """See `base.Rounds.accepts`: one source of drafts, and sampling that needs no host."""
        sources = {_source(c) for c in plan.choices if c.length}
        known = sources <= {HOST} or (len(sources) == 1 and sources <= self._drafters.keys())
        if not known or not plan.sampling.plain or self._planned(plan) is None:
            return False
        # What is under way has to land first before drafts that the host gives, which follow the very last token, and
        # before another drafter: where one stands is only known when it stops.
        # And a row that did not draft may not have been read by the drafter up to there. One that took its slot up
        # again is not where what is under way will leave it.
        source, drafting = next(iter(sources), None), _drafting(plan)
        return not any(
            source == HOST
            or flight.kind.source != source
            or not drafting <= _drafting(flight.plan)
            or any(not self._known(row) and row in flight.plan.rows for row in plan.rows)
            for flight in self._flights
        )

    # ---- taking off

    def submit(self, plan: Plan) -> None:
        """See `base.Rounds.submit`. Sends rounds off until enough are under way, as far as they are needed and there is
        room. Drafts that the host gives are for one round."""
        kind = self._planned(plan)
        assert kind is not None
        while len(self._flights) < (1 if kind.source == HOST else _AHEAD):
            if not self._fits(plan, kind) or not self._current(plan, kind.source):
                break
            self._send(plan, kind)

    def _fits(self, plan: Plan, kind: RoundKind) -> bool:
        """Room in the slots, and memory, for as much as the rounds under way may add; some row will want the round."""
        added = sum(flight.kind.drafts + 1 for flight in self._flights) + kind.drafts + 1
        longest = max(len(row.tokens) for row in plan.rows) + added
        capacity = self._model.capacity
        if kind.source in self._drafters:
            capacity = min(capacity, self._drafters[kind.source].capacity)
        if longest > capacity or all(row.room + 1 <= len(self._flights) for row in plan.rows):
            return False
        prefixes = self._target.state.prefixes  # the host finds no memory while the device leads
        ends = [(row.context.slot, len(row.tokens) + added) for row in plan.rows]
        if not all(prefixes.reserve(slot, end, end) for slot, end in ends):
            return False
        if kind.source is None or (drafter := self._drafters.get(kind.source)) is None:
            return True
        return drafter.reserve(self._led(plan, plan.rows, kind.source), added)

    def _current(self, plan: Plan, source: str | None) -> bool:
        """Bring the device, and who drafts there, to where the host is, for rows that are not under way."""
        flown = {row for flight in self._flights for row in flight.plan.rows}
        fresh = [row for row in plan.rows if row not in flown]
        for row in fresh:
            self._table.upload(self._target.state.slots[row.context.slot], row, self._target.info.vocab_size)
        if source is None or (drafter := self._drafters.get(source)) is None:
            return True
        contexts = self._led(plan, fresh, source)
        with suppress(torch.OutOfMemoryError):  # the host does without it
            return not contexts or drafter.ready(contexts)
        return False

    def _known(self, row: Running) -> bool:
        """Whether the row's slot is as rounds of the device left it. One that was given back and taken up again, under
        a round, is not: its memory is another."""
        held = self._target.state.slots[row.context.slot]
        return held.tokens is row.tokens and held.uploaded > 0

    def _led(self, plan: Plan, rows: Sequence[Running], source: str) -> list[DraftContext]:
        """The sequences that a drafter goes along with: those for which it drafts, and others of which it has read
        almost all, since the graph runs it there too."""
        drafting, drafter = _drafting(plan), self._on_device[source]

        def near(row: Running) -> bool:
            behind = drafter.behind(row.context)
            return behind is not None and behind <= DECODE_ROWS

        return [row.context for row in rows if near(row) or row in drafting]

    def _send(self, plan: Plan, kind: RoundKind) -> None:
        inputs = self._place(plan, kind.rows)
        if kind.source == HOST:
            named = {c.option.drafter for c in plan.choices if c.option}
            offered = {name: plan.offers[name].tokens.tolist() for name in named}
            rows = [offered[c.option.drafter][b][: c.length] if c.option else [] for b, c in enumerate(plan.choices)]
            filled = [[*row, *[0] * (kind.drafts - len(row))] for row in rows]
            self._given[: len(rows), : kind.drafts] = to_device(filled, self._device)
        self._flights.append(_Flight(plan, kind, Fetched(self._round(inputs, kind))))

    def _place(self, plan: Plan | None, padded: int) -> Tensor:
        """A graph's inputs [2, B]: the rows' slots, and how many drafts each may have accepted. Without a plan all rows
        are spare."""
        rows = (
            [] if plan is None else [(r.context.slot, c.length) for r, c in zip(plan.rows, plan.choices, strict=True)]
        )
        spare = padded - len(rows)
        given = [[*(s for s, _ in rows), *[self._model.spare] * spare], [*(n for _, n in rows), *[0] * spare]]
        inputs = self._inputs[padded]
        if self._sent.get(padded) != given:
            inputs.copy_(to_device(given, self._device))
            self._sent[padded] = given
        return inputs

    # ---- landing

    def collect(self) -> Outcomes:
        """See `base.Rounds.collect`. The controller learns what the round cost."""
        flight = self._flights.popleft()
        values, kind = flight.result.wait(), flight.kind
        seconds = self._seconds(values)
        self._learn(kind, seconds)
        width, outcomes = 2 * kind.drafts + 2, Outcomes()
        for b, (row, choice) in enumerate(zip(flight.plan.rows, flight.plan.choices, strict=True)):
            part = values[b * width : (b + 1) * width]
            accepted, drafted = part[kind.drafts + 1], part[kind.drafts + 2 :][: choice.length]
            if not self._known(row):
                continue
            self._target.state.slots[row.context.slot].uploaded = len(row.tokens) + accepted + 1
            option = choice.option if choice.length else None
            name = option.drafter if option else None
            round = Round(name, tuple(drafted), accepted, seconds.draft, seconds.verify, len(flight.plan.rows))
            outcomes[row] = Outcome(part[: accepted + 1], round, option=option, on_device=True)
        return outcomes

    @staticmethod
    def _seconds(values: Sequence[int]) -> Seconds:
        """From a round's stamps."""
        return Seconds(*(max(b - a, 0) * 1e-9 for a, b in pairwise(values[-_STAMPS:])))

    def _learn(self, kind: RoundKind, seconds: Seconds, *, known: bool = True) -> None:
        """What such a round took; `known`: even where that is known. The interpreter's clock says nothing."""
        verify, draft = self._controller.verify_cost, None
        if kind.source in self._drafters:
            draft = self._controller.draft_costs[kind.source]
        curves = (verify, kind.rows * (kind.drafts + 1), seconds.verify), (draft, kind.drafts, seconds.draft)
        for curve, size, spent in curves:
            if curve is not None and self._stamps.is_cuda and (known or size not in curve):
                curve.observe(size, spent)

    # ---- the round itself, as a graph holds it

    def _round(self, inputs: Tensor, kind: RoundKind) -> Tensor:
        """A round's result (see `_record`)."""
        return self._graphs.run(kind, lambda: self._record(inputs, kind))

    def _record(self, inputs: Tensor, kind: RoundKind) -> Tensor:
        """inputs [2, B] as `_place` makes them -> see `rounds.settle`."""
        table, (slots, allowed) = self._table, inputs
        pair, verify, starts = begin(slots, table.tokens, table.lengths, kind.drafts, self._stamps)
        choose = Chooser(table, slots, starts, kind.drafts + 1, kind.shaping, self._target.info.vocab_size)
        round = DeviceRound(pair, verify, slots.int(), starts, table.tokens, choose)
        if kind.source == HOST:
            verify[:, 1:] = self._given[: kind.rows, : kind.drafts]
        elif kind.source is not None:
            self._drafters[kind.source].propose(round)
        if self._stamps.is_cuda:
            stamp(self._stamps[1:])
        found = self._model.decode(verify, round.slots, starts, features=self._features)
        own = choose(found.logits, 0, mark=True)  # [B, k + 1]
        result = settle(slots, allowed, table.tokens, table.lengths, verify, own, self._stamps)
        if self._reader is not None and found.features is not None:
            accepted = result[:-_STAMPS].view(slots.shape[0], -1)[:, kind.drafts + 1]
            self._reader.observe(round, found.features, accepted)
        return result


def _drafting(plan: Plan) -> set[Running]:
    """The rows for which something is drafted."""
    return {row for row, choice in zip(plan.rows, plan.choices, strict=True) if choice.length}


def _source(choice: Choice) -> str:
    """Who drafts: the host, or a drafter on the device."""
    return choice.option.drafter if choice.option and not choice.option.free else HOST
