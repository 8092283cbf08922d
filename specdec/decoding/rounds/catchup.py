"""Drafters read what they lack of a long prompt in chunks between rounds, after the answer has begun.

It is done where it pays: what drafts will save in the rest of the answer is worth more than the reading. So the first
token does not wait for a draft model, and a draft model that is hardly ever right does not read at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from specdec.decoding.rounds.clock import ChunkTimer
from specdec.decoding.sequence import Running
from specdec.decoding.speculation.chunks import SIZES, STALL
from specdec.decoding.speculation.controller import Controller, Option
from specdec.drafters.base import Drafter
from specdec.types import MAX_SPECULATIVE_TOKENS

_AT_ONCE = 0.008
"""Seconds of reading that a round itself may begin with."""
_MARGIN = 1.5
"""What drafts are expected to save, over what reading costs, from which on it pays: both are estimates."""
_TRIAL = 0.005
"""Share of decoding time for reading that does not seem to pay, so that "off" is never for ever."""
_USUAL, _SMOOTHING = 256.0, 0.2
"""Tokens of an answer before any was finished."""


class CatchUp:
    """One for all drafters of an engine. Used by its worker only."""

    def __init__(self, drafters: Sequence[Drafter], controller: Controller, device: torch.device) -> None:
        self._drafters = [d for d in drafters if not d.free]
        self._controller = controller
        self._timers = {d.name: ChunkTimer(device, controller.read_costs[d.name]) for d in self._drafters}
        self._reading: dict[str, Running] = {}
        """Whom each drafter has begun to read."""
        self.refused = set[Running]()
        """For whom one lacked memory: no answer depends on its drafts."""
        self._usual = _USUAL
        self._trial, self._last = 0.0, time.perf_counter()
        """Seconds of reading that may be for nothing; when that was last added to."""

    def near(self, drafter: Drafter, row: Running) -> bool:
        """Whether it can draft for this sequence at once."""
        if row in self.refused:
            return False
        behind = drafter.behind(row.context)
        return behind == 0 or (behind is not None and self._seconds(drafter, row, behind) <= _AT_ONCE)

    def advance(self, rows: Sequence[Running]) -> None:
        """Let one drafter read one chunk, if that pays for one of these sequences."""
        now = time.perf_counter()
        self._trial += _TRIAL * min(now - self._last, 1.0)
        self._last = now
        for drafter in self._drafters:
            row = self._reading.get(drafter.name) or self._next(drafter, rows)
            if row is not None and row in rows:
                try:
                    self._read(drafter, row)
                except torch.OutOfMemoryError:
                    self.refused.add(row)
                    self._reading.pop(drafter.name, None)
                return
            self._reading.pop(drafter.name, None)

    def release(self, row: Running) -> None:
        """The sequence has left its slot."""
        self.refused.discard(row)
        if row.finish is not None:
            self._usual += _SMOOTHING * (row.shown - self._usual)

    def _read(self, drafter: Drafter, row: Running) -> None:
        timer, costs = self._timers[drafter.name], self._controller.read_costs[drafter.name]
        timer.learn()
        start = len(row.tokens) - (drafter.behind(row.context) or 0)
        size, began = costs.longest(start, STALL, SIZES[0]) or SIZES[-1], timer.mark()
        timer.ended(began, drafter.read(row.context, size), start)
        if self.near(drafter, row):
            self._reading.pop(drafter.name, None)
        else:
            self._reading[drafter.name] = row

    def _next(self, drafter: Drafter, rows: Sequence[Running]) -> Running | None:
        """For whom reading pays, or may be tried."""
        for row in rows:
            if row.max_drafts == 0 or row.finish is not None or row in self.refused or self.near(drafter, row):
                continue
            behind = drafter.behind(row.context)
            if behind is None:
                continue
            seconds = self._seconds(drafter, row, behind)
            if row.max_drafts is not None or self._saved(drafter, row, len(rows)) >= _MARGIN * seconds:
                return row
            if self._trial >= seconds:
                self._trial = 0.0
                return row
        return None

    def _seconds(self, drafter: Drafter, row: Running, behind: int) -> float:
        """What it takes to read what is lacking."""
        end = len(row.tokens)
        return self._controller.read_costs[drafter.name].total(end - behind, end)

    def _saved(self, drafter: Drafter, row: Running, together: int) -> float:
        """Seconds that drafts will save in the rest of the answer, which is taken to be as long as usual, or as long
        again as it is by now."""
        left = min(max(self._usual - row.written, row.written), row.room + 1)
        option = Option(drafter.name, drafter.name, MAX_SPECULATIVE_TOKENS, False)
        return left * self._controller.saving(row.acceptance, option, together)
