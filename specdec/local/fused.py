"""Whole rounds on the device: draft, verify, accept and commit in one graph, one round ahead of the host.

What the next round starts from stays on the device (`mirror`), so that it can be launched before the host has seen
what the last one brought. The host gets one small copy a round, and reads it while the next round runs. Only rounds
that need nothing of the host but drafts are run so: `suits` says which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from specdec.drafters.base import Drafter, Drafts
from specdec.drafters.model import DraftModelDrafter
from specdec.kernels.launch import stamp
from specdec.kernels.rounds import begin, settle
from specdec.local.choosing import Chooser, Shaping
from specdec.local.clock import Seconds
from specdec.local.controller import Choice, Controller
from specdec.local.mirror import Mirror
from specdec.local.sequence import Running
from specdec.runners.base import Runner
from specdec.runners.cuda import CudaRunner
from specdec.runners.graphs import Fetched, Graphs, bucket, to_device
from specdec.sampling.state import SamplerState
from specdec.types import MAX_SPECULATIVE_TOKENS

_AHEAD = 2
"""Rounds under way at once: one that the host waits for, and one behind it."""
_STAMPS = 3
_HOST = "host"
"""The kind of drafts that the host makes."""
_GIVEN = (1, 2, 4, 6, 8, 12, MAX_SPECULATIVE_TOKENS)
"""Numbers of given drafts for which there are graphs."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What one fused round did for one row."""

    tokens: list[int]
    drafted: list[int]
    accepted: int
    choice: Choice
    seconds: Seconds
    timed: bool
    shared_by: int


@dataclass(slots=True)
class _Flight:
    rows: list[Running]
    choices: list[Choice]
    drafts: int
    drafter: DraftModelDrafter | None
    """Whose drafts they are, if they were made on the device."""
    padded: int
    timed: bool
    """False for the first round of its kind, which made its graph."""
    result: Fetched
    """As `rounds.settle` gives it."""


class FusedRounds:
    """Rounds of one target, and of the draft model if there is one, under the coupled accept rule."""

    @classmethod
    def over(cls, target: Runner, drafters: Sequence[Drafter]) -> FusedRounds:
        """Over a target that decodes in graphs, with the draft model among `drafters`, if it does so too."""
        assert isinstance(target, CudaRunner)
        models = [d for d in drafters if isinstance(d, DraftModelDrafter)]
        return cls(target, next((d for d in models if isinstance(d.runner, CudaRunner)), None))

    def __init__(self, target: CudaRunner, drafter: DraftModelDrafter | None) -> None:
        self._target, self._drafter = target, drafter
        self._draft = drafter.runner if drafter and isinstance(drafter.runner, CudaRunner) else None
        self._device = target.info.device
        self._mirror = Mirror(target.info.slots, target.capacity, self._device)
        self.graphs = Graphs(capture=self._device.type == "cuda")
        self._flights: deque[_Flight] = deque()
        self._inputs = {
            rows: torch.zeros(2, rows, dtype=torch.int64, device=self._device) for rows in target.sizes
        }
        self._sent: dict[int, list[list[int]]] = {}
        self._given = torch.zeros(target.sizes[-1], _GIVEN[-1], dtype=torch.int64, device=self._device)
        self._stamps = torch.zeros(_STAMPS, dtype=torch.int64, device=self._device)

    @property
    def graph_bytes(self) -> int:
        """Device memory that the graphs take, those of the models' passes too."""
        return self.graphs.nbytes + sum(runner.graphs.nbytes for runner in self._runners)

    @property
    def _runners(self) -> list[CudaRunner]:
        return [self._target, *([self._draft] if self._draft else [])]

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Make the graphs that answers begin with, over the spare slot. Where that was never done Triton first compiles
        their kernels, for many seconds. Nothing to do without graphs."""
        if self._device.type != "cuda":
            return
        for runner in self._runners:
            runner.warm_up()
        inputs = self._place([], [], self._target.sizes[0])
        kinds = [(0, False), (_GIVEN[-1], True), *([(2, False)] if self._drafter else [])]
        for shaping in (Shaping(), Shaping(drawn=True)):
            for drafts, given in kinds:
                self._round(inputs, drafts, shaping, given=given)

    # ---- which rounds

    def suits(self, rows: Sequence[Running], choices: Sequence[Choice]) -> bool:
        """Whether a round as chosen can run on the device: one kind of draft, and sampling that needs no host."""
        kinds = {_kind(c) for c in choices if c.length}
        known = kinds <= {_HOST} or (self._drafter is not None and kinds == {self._drafter.name})
        return known and all(_plainly_sampled(row.sampler) for row in rows)

    def must_land(self, choices: Sequence[Choice]) -> bool:
        """Whether what is under way must land before this round: drafts that the host gives follow the very last token,
        and what the draft model has seen is only known when it stops."""
        drafting = any(c.length for c in choices)
        given = any(_kind(c) == _HOST for c in choices if c.length)
        return any(given or bool(flight.drafter) != drafting for flight in self._flights)

    @property
    def flying(self) -> bool:
        return bool(self._flights)

    # ---- taking off

    def launch(self, rows: list[Running], choices: list[Choice], offers: Mapping[str, Drafts]) -> None:
        """Send rounds off until enough are under way, as far as they are needed and there is room. Drafts that the host
        gives are for one round."""
        drafts = max(c.length for c in choices)
        given = [offers[c.option.drafter].tokens[b, : c.length].tolist() if c.option and c.option.free else []
                 for b, c in enumerate(choices)]  # fmt: skip
        while len(self._flights) < (1 if any(given) else _AHEAD):
            if not self._fits(rows, drafts) or not self._ready(rows, 0 if any(given) else drafts):
                break
            self._send(rows, choices, drafts, given if any(given) else None)

    def _fits(self, rows: Sequence[Running], drafts: int) -> bool:
        """Room in the slots for as much as the rounds under way may add, and some row that will want the round."""
        added = sum(flight.drafts + 1 for flight in self._flights)
        longest = max(len(row.tokens) for row in rows) + added + drafts + 1
        runners = [self._target, *([self._draft] if self._draft and drafts else [])]
        wanted = any(row.room + 1 > len(self._flights) for row in rows)
        return wanted and all(longest <= runner.capacity for runner in runners)

    def _ready(self, rows: Sequence[Running], drafts: int) -> bool:
        """Bring the device, and the draft model, to where the host is, for rows that are not under way."""
        flown = {id(row) for flight in self._flights for row in flight.rows}
        fresh = [row for row in rows if id(row) not in flown]
        for row in fresh:
            if not self._mirror.current(row):
                self._mirror.upload(row, self._target.info.vocab_size)
        if self._drafter is None:
            return True
        if not drafts:
            self._drafter.land([row.context for row in fresh])
            return True
        return not fresh or self._drafter.take_off([row.context for row in fresh])

    def _send(
        self, rows: list[Running], choices: list[Choice], drafts: int, given: list[list[int]] | None
    ) -> None:
        padded = bucket(len(rows), self._target.sizes)
        inputs = self._place(rows, choices, padded)
        if given:
            drafts = bucket(drafts, _GIVEN)
            filled = [[*row, *[0] * (drafts - len(row))] for row in given]
            self._given[: len(rows), :drafts] = to_device(filled, self._device)
        shaping = Shaping.of([row.sampler for row in rows])
        result, timed = self._round(inputs, drafts, shaping, given=bool(given))
        drafter = None if given or not drafts else self._drafter
        self._flights.append(
            _Flight(list(rows), list(choices), drafts, drafter, padded, timed, Fetched(result))
        )

    def _round(self, inputs: Tensor, drafts: int, shaping: Shaping, *, given: bool) -> tuple[Tensor, bool]:
        """A round's result (see `_record`), and whether there was a graph for it."""
        padded = inputs.shape[1]
        key = (padded, drafts, given, shaping)
        timed = key in self.graphs
        proposed = self._given[:padded, :drafts] if given else None
        return self.graphs.run(key, lambda: self._record(inputs, drafts, shaping, proposed)), timed

    def _place(self, rows: Sequence[Running], choices: Sequence[Choice], padded: int) -> Tensor:
        """A graph's inputs [2, B]: the rows' slots, and how many drafts each may have accepted."""
        inputs, spare = self._inputs[padded], padded - len(rows)
        given = [
            [*(row.context.slot for row in rows), *[self._target.spare] * spare],
            [*(c.length for c in choices), *[0] * spare],
        ]
        if self._sent.get(padded) != given:
            inputs.copy_(to_device(given, self._device))
            self._sent[padded] = given
        return inputs

    # ---- landing

    def land(self, controller: Controller) -> dict[int, Landed]:
        """Wait for the first round under way; what it did, by `id` of the row. The controller learns what it cost."""
        flight = self._flights.popleft()
        values = flight.result.wait()
        seconds = Seconds(*(max(b - a, 0) * 1e-9 for a, b in pairwise(values[-_STAMPS:])))
        if flight.timed:
            controller.verify_cost.observe(flight.padded * (flight.drafts + 1), seconds.verify)
            if flight.drafter:
                controller.draft_costs[flight.drafter.name].observe(flight.drafts, seconds.draft)
        width = 2 * flight.drafts + 2
        rows = (values[b * width : (b + 1) * width] for b in range(len(flight.rows)))
        each = zip(flight.rows, flight.choices, rows, strict=True)
        return {id(row): self._landed(flight, row, choice, part, seconds) for row, choice, part in each}

    def _landed(
        self, flight: _Flight, row: Running, choice: Choice, part: list[int], seconds: Seconds
    ) -> Landed:
        own, accepted, drafted = part[: flight.drafts + 1], part[flight.drafts + 1], part[flight.drafts + 2 :]
        self._mirror.learn(row, accepted + 1)
        return Landed(
            own[: accepted + 1],
            drafted[: choice.length],
            accepted,
            choice,
            seconds,
            flight.timed,
            len(flight.rows),
        )

    # ---- the round itself, as a graph holds it

    def _record(self, inputs: Tensor, drafts: int, shaping: Shaping, given: Tensor | None) -> Tensor:
        """inputs [2, B] as `_place` makes them, and drafts that were given [B, k] -> see `rounds.settle`."""
        mirror, (slots, allowed) = self._mirror, inputs
        pair, verify, starts = begin(slots, mirror.tokens, mirror.lengths, drafts, self._stamps)
        choose = Chooser(mirror, slots, starts, drafts + 1, shaping, self._target.info.vocab_size)
        places = slots.int()
        if given is not None:
            verify[:, 1:] = given
        elif drafts:
            self._propose(pair, places, starts, verify, choose)
        if self._stamps.is_cuda:
            stamp(self._stamps[1:])
        own = choose(self._target.decoder(verify, places, starts), 0, mark=True)  # [B, k + 1]
        return settle(slots, allowed, mirror.tokens, mirror.lengths, verify, own, self._stamps)

    def _propose(
        self, tokens: Tensor, places: Tensor, starts: Tensor, verify: Tensor,
        choose: Chooser,
    ) -> None:  # fmt: skip
        """Fill verify[:, 1:] with the draft model's tokens. Its first pass takes the last two tokens [B, 2]: after a
        fully accepted round it has seen neither."""
        assert self._drafter is not None and self._draft is not None
        newest, at = torch.ones_like(places), starts - 1
        for j in range(verify.shape[1] - 1):
            if self._draft.info.vocab_size < self._target.info.vocab_size:
                tokens = tokens.clamp(max=self._draft.info.vocab_size - 1)
            tokens = choose(
                self._drafter.fit(self._draft.decoder(tokens, places, at, newest if j == 0 else None)), j
            )
            verify[:, j + 1] = tokens[:, 0]
            at = starts + (j + 1)


def _kind(choice: Choice) -> str:
    """Who drafts: the host, or a drafter on the device."""
    return choice.option.drafter if choice.option and not choice.option.free else _HOST


def _plainly_sampled(state: SamplerState) -> bool:
    """Whether temperature, top_k, top_p and min_p are all that shapes this row."""
    params = state.params
    edited = state.grammar or state.bias or state.counts is not None or state.forbidden is not None
    return not edited and params.logprobs is None
