"""Plans each round, runs it where it runs fastest, and learns from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import torch

from specdec.decoding.rounds.base import Outcomes, Plan, Rounds
from specdec.decoding.rounds.catchup import CatchUp
from specdec.decoding.rounds.drafting import Drafting
from specdec.decoding.rounds.host import HostRounds
from specdec.decoding.sequence import Outcome, Running
from specdec.decoding.speculation.controller import Controller, Row
from specdec.drafters.base import Drafter
from specdec.models.base import Model
from specdec.models.graphs import NotCaptured
from specdec.sampling.batch import SamplingBatch
from specdec.types import AcceptRule

_log = logging.getLogger(__name__)


class RoundRunner:
    """One round over all rows that decode. It does not know which drafters there are, nor what becomes of the tokens.

    The hand-over: a plan that the device takes is submitted there, some rounds ahead. Another waits until all that is
    under way was collected, and the host runs it. Until then each call gives what was collected.

    `alone`: one request at a time is answered, and for a moment. No graphs are made for more, and none beforehand but
    those of rounds.
    """

    def __init__(
        self, target: Model, drafters: Sequence[Drafter], controller: Controller, rule: AcceptRule, *, alone: bool
    ) -> None:
        self._drafters, self._controller = drafters, controller
        self._catch_up = CatchUp(drafters, controller, target.info.device)
        self._drafting = Drafting(drafters, target.info, rule, self._catch_up)
        self.observers, self.features = self._drafting.observers, self._drafting.features
        host = HostRounds(target, self._drafting, controller, rule, alone=alone)
        self.catch_up, self.first = self._catch_up.advance, host.first
        self._rounds: list[Rounds] = [host]
        """The fastest first; the last takes any plan."""
        self._device = None
        """The rounds that the device leads, if it leads any."""
        if target.device is not None and rule == "coupled":
            from specdec.decoding.rounds.device import DeviceRounds  # with it comes Triton

            self._device = DeviceRounds(target, target.device, drafters, controller, alone=alone)
            self._rounds.insert(0, self._device)
        self._batch: tuple[list[Running], SamplingBatch] | None = None
        self._ended: float | None = None
        """When the last round over the same rows ended."""

    @property
    def graph_bytes(self) -> int:
        """Device memory that graphs take."""
        return self._device.graph_bytes if self._device else 0

    @property
    def pending(self) -> bool:
        """Whether a round is under way."""
        return any(rounds.pending for rounds in self._rounds)

    def warm_up(self, defaults: Mapping[str, float]) -> None:
        """See `base.Rounds.warm_up`. The models' passes come first: without them there is no answer."""
        for rounds in reversed(self._rounds):
            rounds.warm_up(defaults)

    def prepare(self) -> bool:
        """See `base.Rounds.prepare`. Memory that is short is left to answers."""
        try:
            return any(rounds.prepare() for rounds in self._rounds)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        except NotCaptured as error:
            _log.warning("a graph was not made, and will be when it is missed again: %s", error)
        return False

    def run(self, rows: list[Running]) -> list[Outcome | None]:
        """One outcome a row, in order; None for a row that was not in the round that ended."""
        began = time.perf_counter()
        plan = self._plan(rows)
        planned = time.perf_counter()
        outcomes = Outcomes()
        for rounds in self._rounds:
            if outcomes.keys().isdisjoint(rows) and rounds.accepts(plan):
                rounds.submit(plan)
            # one whose rows have all left was for nothing
            while rounds.pending and outcomes.keys().isdisjoint(rows):
                outcomes = rounds.collect()
        self._learn_costs(began, planned, outcomes)
        for row, outcome in outcomes.items():
            if outcome.option and (round := outcome.round):
                self._controller.observe(row.acceptance, outcome.option, len(round.drafted), round.accepted)
        return [outcomes.get(row) for row in rows]

    def release(self, row: Running) -> None:
        """The sequence has left its slot."""
        for drafter in self._drafters:
            drafter.release(row.context)
        self._catch_up.release(row)
        self._batch = None

    def _plan(self, rows: list[Running]) -> Plan:
        if self._batch is None or self._batch[0] != rows:
            self._ended = None
            self._batch = (list(rows), SamplingBatch([r.sampler for r in rows]))
        sampling = self._batch[1]
        offers = self._drafting.offers(rows, sampling)
        planned = []
        for b, row in enumerate(rows):
            options = self._drafting.options(b, row, offers) if row.max_drafts != 0 else ()
            planned.append(Row(row.acceptance, options, row.room, row.max_drafts))
        choices = self._controller.plan(planned, self._rounds[0].ready(sampling))
        decision = self._controller.decision
        for row, asked in zip(rows, planned, strict=True):
            row.warning = self._controller.warning
            if asked.forced is None and asked.room > 0:  # the last token of an answer is never drafted
                unread = self._drafting.unread(row) if decision.why == "nothing to draft from" else None
                row.speculation = unread or decision
        return Plan(self._batch[0], sampling, choices, offers)

    def _learn_costs(self, began: float, planned: float, outcomes: Outcomes) -> None:
        """What the round took beyond what was measured on the device."""
        ended, one = time.perf_counter(), next(iter(outcomes.values()))
        if self._device is None:
            if self._ended is not None:
                self._controller.between_cost.observe(len(outcomes), planned - self._ended)
            self._ended = ended
        elif not one.on_device or (one.option is not None and one.option.free):
            assert one.round is not None
            spent = one.round.draft_seconds + one.round.verify_seconds
            self._controller.host_cost.observe(1, max(ended - began - spent, 0.0))
