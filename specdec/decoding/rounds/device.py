"""Rounds that the device leads: draft, verify, accept and commit in one graph, one round ahead of the host.

What the next round starts from stays on the device (`table`), so that it can be launched before the host has seen what
the last one brought. The host gets one small copy a round, and reads it while the next round runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from specdec.decoding.rounds.base import Outcomes, Plan
from specdec.decoding.rounds.choosing import Chooser, Shaping
from specdec.decoding.rounds.clock import Seconds
from specdec.decoding.rounds.table import SlotTable
from specdec.decoding.sequence import Outcome, Running
from specdec.decoding.speculation.controller import Choice, Controller
from specdec.drafters.base import DeviceDrafter, DeviceRound, Drafter
from specdec.kernels.launch import stamp
from specdec.kernels.rounds import begin, settle
from specdec.models.base import DeviceModel, Model
from specdec.models.graphs import Fetched, Graphs, bucket, to_device
from specdec.sampling.state import SamplerState
from specdec.types import MAX_SPECULATIVE_TOKENS, Round

_AHEAD = 2
"""Rounds under way at once: one that the host waits for, and one behind it."""
_STAMPS = 3
_HOST = "host"
"""Where drafts come from that no drafter makes on the device."""
_GIVEN = (1, 2, 4, 6, 8, 12, MAX_SPECULATIVE_TOKENS)
"""Numbers of given drafts for which there are graphs."""


@dataclass(slots=True)
class _Flight:
    plan: Plan
    drafts: int
    drafter: str | None
    """Who made the drafts on the device."""
    padded: int
    timed: bool
    """False for the first round of its kind, which made its graph."""
    result: Fetched
    """As `rounds.settle` gives it."""


class DeviceRounds:
    """Rounds under the coupled accept rule (see `base.Rounds`)."""

    def __init__(self, target: Model, model: DeviceModel, drafters: Sequence[Drafter], controller: Controller) -> None:
        self._target, self._model, self._controller = target, model, controller
        self._drafters = {d.name: d.device for d in drafters if d.device is not None}
        readers = [d for d in drafters if d.device is not None and d.features]
        self._reader = readers[0].device if readers else None
        self._features = readers[0].features if readers else ()
        self._device = target.info.device
        self._table = SlotTable(target.info.slots, model.capacity, self._device)
        self._graphs: Graphs[Tensor] = Graphs(capture=self._device.type == "cuda")
        self._flights: deque[_Flight] = deque()
        self._inputs = {rows: torch.zeros(2, rows, dtype=torch.int64, device=self._device) for rows in model.sizes}
        self._sent: dict[int, list[list[int]]] = {}
        self._given = torch.zeros(model.sizes[-1], _GIVEN[-1], dtype=torch.int64, device=self._device)
        self._stamps = torch.zeros(_STAMPS, dtype=torch.int64, device=self._device)

    @property
    def graph_bytes(self) -> int:
        """Device memory that the graphs take, those of the models' passes too."""
        drafters = sum(drafter.graph_bytes for drafter in self._drafters.values())
        return self._graphs.nbytes + self._model.graph_bytes + drafters

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Make the graphs that answers begin with, over the spare slot. Where that was never done Triton first compiles
        their kernels, for many seconds. Nothing to do without graphs."""
        if self._device.type != "cuda":
            return
        self._target.warm_up()
        for drafter in self._drafters.values():
            drafter.warm_up()
        inputs = self._place(None, self._model.sizes[0])
        for shaping in (Shaping(), Shaping(drawn=True)):
            self._round(inputs, 0, shaping)
            self._round(inputs, _GIVEN[-1], shaping, given=True)
            for drafter in self._drafters.values():
                self._round(inputs, 2, shaping, drafter)

    # ---- which rounds

    @property
    def pending(self) -> bool:
        """See `base.Rounds.pending`."""
        return bool(self._flights)

    def accepts(self, plan: Plan) -> bool:
        """See `base.Rounds.accepts`: one source of drafts, and sampling that needs no host."""
        sources = {_source(c) for c in plan.choices if c.length}
        known = sources <= {_HOST} or (len(sources) == 1 and sources <= self._drafters.keys())
        if not known or not all(_plainly_sampled(s) for s in plan.sampling.states):
            return False
        # What is under way has to land first before drafts that the host gives, which follow the very last token, and
        # before another drafter: where one stands is only known when it stops.
        drafter = next(iter(sources - {_HOST}), None)
        return not any(sources == {_HOST} or flight.drafter != drafter for flight in self._flights)

    # ---- taking off

    def submit(self, plan: Plan) -> None:
        """See `base.Rounds.submit`. Sends rounds off until enough are under way, as far as they are needed and there is
        room. Drafts that the host gives are for one round."""
        drafts = max(c.length for c in plan.choices)
        name = next((_source(c) for c in plan.choices if c.length), None)
        given = name == _HOST
        name = None if given else name
        while len(self._flights) < (1 if given else _AHEAD):
            if not self._fits(plan.rows, drafts, name) or not self._ready(plan.rows, name):
                break
            self._send(plan, drafts, name, given=given)

    def _fits(self, rows: Sequence[Running], drafts: int, drafter: str | None) -> bool:
        """Room in the slots for as much as the rounds under way may add, and some row that will want the round."""
        added = sum(flight.drafts + 1 for flight in self._flights)
        longest = max(len(row.tokens) for row in rows) + added + drafts + 1
        capacity = self._model.capacity
        if drafter is not None:
            capacity = min(capacity, self._drafters[drafter].capacity)
        return longest <= capacity and any(row.room + 1 > len(self._flights) for row in rows)

    def _ready(self, rows: Sequence[Running], drafter: str | None) -> bool:
        """Bring the device, and the drafter, to where the host is, for rows that are not under way."""
        flown = {row for flight in self._flights for row in flight.plan.rows}
        fresh = [row for row in rows if row not in flown]
        for row in fresh:
            self._table.upload(self._target.state.slots[row.context.slot], row, self._target.info.vocab_size)
        contexts = [row.context for row in fresh]
        return drafter is None or not fresh or self._drafters[drafter].ready(contexts)

    def _send(self, plan: Plan, drafts: int, drafter: str | None, *, given: bool) -> None:
        padded = bucket(len(plan.rows), self._model.sizes)
        inputs = self._place(plan, padded)
        if given:
            drafts = bucket(drafts, _GIVEN)
            rows = [
                plan.offers[c.option.drafter].tokens[b, : c.length].tolist() if c.option else []
                for b, c in enumerate(plan.choices)
            ]
            filled = [[*row, *[0] * (drafts - len(row))] for row in rows]
            self._given[: len(rows), :drafts] = to_device(filled, self._device)
        shaping = Shaping.of(plan.sampling.states)
        making = self._drafters[drafter] if drafter is not None else None
        result, timed = self._round(inputs, drafts, shaping, making, given=given)
        self._flights.append(_Flight(plan, drafts, drafter, padded, timed, Fetched(result)))

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
        values = flight.result.wait()
        seconds = Seconds(*(max(b - a, 0) * 1e-9 for a, b in pairwise(values[-_STAMPS:])))
        if flight.timed:
            self._controller.verify_cost.observe(flight.padded * (flight.drafts + 1), seconds.verify)
            if flight.drafter is not None:
                self._controller.draft_costs[flight.drafter].observe(flight.drafts, seconds.draft)
        width, outcomes = 2 * flight.drafts + 2, Outcomes()
        for b, (row, choice) in enumerate(zip(flight.plan.rows, flight.plan.choices, strict=True)):
            part = values[b * width : (b + 1) * width]
            accepted, drafted = part[flight.drafts + 1], part[flight.drafts + 2 :][: choice.length]
            held = self._target.state.slots[row.context.slot]
            if held.tokens is row.tokens:  # else its sequence has left, and another one has begun there
                held.uploaded = len(row.tokens) + accepted + 1
            option = choice.option if choice.length else None
            name = option.drafter if option else None
            round = Round(name, tuple(drafted), accepted, seconds.draft, seconds.verify, len(flight.plan.rows))
            outcomes[row] = Outcome(part[: accepted + 1], round, option=option, timed=flight.timed, on_device=True)
        return outcomes

    # ---- the round itself, as a graph holds it

    def _round(
        self,
        inputs: Tensor,
        drafts: int,
        shaping: Shaping,
        drafter: DeviceDrafter | None = None,
        *,
        given: bool = False,
    ) -> tuple[Tensor, bool]:
        """A round's result (see `_record`), and whether there was a graph for it."""
        padded = inputs.shape[1]
        key = (padded, drafts, given, drafter, shaping)
        timed = key in self._graphs
        proposed = self._given[:padded, :drafts] if given else None
        return self._graphs.run(key, lambda: self._record(inputs, drafts, shaping, drafter, proposed)), timed

    def _record(
        self,
        inputs: Tensor,
        drafts: int,
        shaping: Shaping,
        drafter: DeviceDrafter | None,
        given: Tensor | None,
    ) -> Tensor:
        """inputs [2, B] as `_place` makes them, and drafts that were given [B, k] -> see `rounds.settle`."""
        table, (slots, allowed) = self._table, inputs
        pair, verify, starts = begin(slots, table.tokens, table.lengths, drafts, self._stamps)
        choose = Chooser(table, slots, starts, drafts + 1, shaping, self._target.info.vocab_size)
        round = DeviceRound(pair, verify, slots.int(), starts, table.tokens, choose)
        if given is not None:
            verify[:, 1:] = given
        elif drafter is not None:
            drafter.propose(round)
        if self._stamps.is_cuda:
            stamp(self._stamps[1:])
        found = self._model.decode(verify, round.slots, starts, features=self._features)
        own = choose(found.logits, 0, mark=True)  # [B, k + 1]
        result = settle(slots, allowed, table.tokens, table.lengths, verify, own, self._stamps)
        if self._reader is not None and found.features is not None:
            accepted = result[:-_STAMPS].view(slots.shape[0], -1)[:, drafts + 1]
            self._reader.observe(round, found.features, accepted)
        return result


def _source(choice: Choice) -> str:
    """Who drafts: the host, or a drafter on the device."""
    return choice.option.drafter if choice.option and not choice.option.free else _HOST


def _plainly_sampled(state: SamplerState) -> bool:
    """Whether temperature, top_k, top_p and min_p are all that shapes this row."""
    params = state.params
    edited = state.grammar or state.bias or state.counts is not None or state.forbidden is not None
    return not edited and params.logprobs is None
