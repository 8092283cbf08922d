"""One round over all slots that decode: draft, verify, accept. One synchronisation with the device, at its end.

The round does not know which drafters there are, nor what becomes of the tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from specdec.drafters.base import Drafter
from specdec.engine import AcceptRule
from specdec.local.clock import DeviceClock, Seconds
from specdec.local.controller import Choice, Controller, Row
from specdec.local.drafting import Drafted, Drafting, Offers
from specdec.local.sequence import Outcome, Running
from specdec.runners.base import Runner
from specdec.sampling.accept import Verdict, coupled, defined, rejection
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.noise import Stream
from specdec.types import Round

if TYPE_CHECKING:
    from specdec.local.fused import FusedRounds, Landed


class Rounds:
    """Runs rounds over a target and its drafters, as the controller plans them."""

    def __init__(
        self, target: Runner, drafters: Sequence[Drafter], controller: Controller, rule: AcceptRule
    ) -> None:
        info = target.info
        self._target, self._controller = target, controller
        self._rejecting = rule == "rejection"
        self._drafting = Drafting(drafters, info.device, info.vocab_size, self._rejecting)
        self._clock = DeviceClock(info.device)
        self._batch: tuple[list[Running], SamplingBatch] | None = None
        self._ended: float | None = None
        """When the last round over the same rows ended."""
        self._fused = None if self._rejecting else _fused(target, drafters)

    def warm_up(self) -> None:
        """What would otherwise make the first answers wait."""
        if self._fused is not None:
            self._fused.warm_up()

    def run(self, rows: list[Running]) -> list[Outcome | None]:
        """One outcome a row, in order; None for a row that was not in the round that ended."""
        start = time.perf_counter()
        sampling = self._sampling(rows)
        offers = self._drafting.offers(rows, sampling)
        planned = [self._plan_row(b, row, offers) for b, row in enumerate(rows)]
        choices = self._controller.plan(planned).choices
        self._explain(rows)
        if self._fused is None:
            if self._ended is not None:
                self._controller.between_cost.observe(len(rows), time.perf_counter() - self._ended)
            here = self._run_here(rows, sampling, planned, choices, offers)
            self._ended = time.perf_counter()
            return [*here]
        if landed := self._run_ahead(self._fused, rows, choices, offers):
            outcomes = [self._landed(landed.get(id(row)), planned[b]) for b, row in enumerate(rows)]
            one = next(iter(landed.values()))
            if one.timed and one.choice.option and one.choice.option.free:
                self._host_took(start, one.seconds)
            return outcomes
        here = self._run_here(rows, sampling, planned, choices, offers)
        if (round := here[0].round) is not None:
            self._host_took(start, Seconds(round.draft_seconds, round.verify_seconds))
        return [*here]

    def _host_took(self, start: float, device: Seconds) -> None:
        """Learn what a round costs beyond the device's share when it cannot be sent ahead."""
        seconds = time.perf_counter() - start - device.draft - device.verify
        self._controller.host_cost.observe(1, max(seconds, 0.0))

    def _run_ahead(
        self, fused: FusedRounds, rows: list[Running], choices: Sequence[Choice], offers: Offers
    ) -> dict[int, Landed]:
        """Keep rounds on the device under way, and wait for the first of them; empty if there is none."""
        if fused.suits(rows, choices) and not fused.must_land(choices):
            fused.launch(rows, list(choices), offers)
        landed: dict[int, Landed] = {}
        while fused.flying and not any(id(row) in landed for row in rows):
            landed = fused.land(self._controller)  # a round whose rows have all left was for nothing
        return landed if any(id(row) in landed for row in rows) else {}

    def _landed(self, landed: Landed | None, planned: Row) -> Outcome | None:
        """Learn from a row's share of a round on the device."""
        if landed is None:
            return None
        option, drafted, seconds = landed.choice.option, landed.drafted, landed.seconds
        name = option.drafter if option and drafted else None
        round = Round(name, tuple(drafted), landed.accepted, seconds.draft, seconds.verify, landed.shared_by)
        if option and drafted:
            self._controller.observe(planned, option, len(drafted), landed.accepted)
        return Outcome(landed.tokens, round)

    def _run_here(
        self,
        rows: list[Running],
        sampling: SamplingBatch,
        planned: Sequence[Row],
        choices: Sequence[Choice],
        offers: Offers,
    ) -> list[Outcome]:
        """A round that the host takes part in."""
        began = self._clock.mark()
        noise = self._noise(sampling, rows, 1 + max(c.length for c in choices))
        drafting = self._clock.mark()
        drafted = self._drafting.collect(
            rows, sampling, choices, offers, lambda: self._draft_noise(sampling, rows, noise)
        )
        known = sampling.on_host(drafted.tokens)
        verifying = self._clock.mark()
        logits = self._forward(rows, drafted)
        verdict = self._accept(sampling, rows, logits, drafted, known, noise)
        ended = self._clock.mark()

        tokens = torch.cat(
            [verdict.tokens, verdict.accepted.unsqueeze(1), drafted.tokens], 1
        ).tolist()  # the one sync
        draft_seconds = self._clock.seconds(drafting, verifying)
        seconds = Seconds(draft_seconds, self._clock.seconds(began, ended) - draft_seconds)
        outcomes = [self._outcome(choices[b], drafted.lengths[b], tokens[b], logits[b], seconds, len(rows))
                    for b, row in enumerate(rows)]  # fmt: skip
        self._learn(planned, choices, outcomes, logits.shape[0] * logits.shape[1], seconds)
        return outcomes

    @property
    def graph_bytes(self) -> int:
        """Device memory that graphs take."""
        return self._fused.graph_bytes if self._fused else 0

    def first(self, row: Running, logits: Tensor) -> Outcome:
        """The token that comes out of prefill: logits [1, 1, V]."""
        sampling = SamplingBatch([row.sampler])
        none = Drafted(torch.empty(1, 0, dtype=torch.long, device=logits.device), (0,))
        verdict = self._accept(sampling, [row], logits, none, none.tokens, self._noise(sampling, [row], 1))
        return Outcome(verdict.tokens[0].tolist(), None, logits[0])

    def release(self, row: Running) -> None:
        """The sequence has left its slot."""
        self._drafting.release(row)
        self._batch = None

    def _sampling(self, rows: list[Running]) -> SamplingBatch:
        if self._batch is None or self._batch[0] != rows:
            self._ended = None
            self._batch = (list(rows), SamplingBatch([r.sampler for r in rows]))
        return self._batch[1]

    def _plan_row(self, b: int, row: Running, offers: Offers) -> Row:
        options = self._drafting.options(b, offers) if row.max_drafts != 0 else ()
        return Row(row.acceptance, options, row.room, row.max_drafts)

    def _explain(self, rows: Sequence[Running]) -> None:
        for row in rows:
            if row.max_drafts is None and row.room > 0:  # the last token of an answer is never drafted
                row.off_reason, row.reason = self._controller.off_reason(), self._controller.reason
            row.warning = self._controller.warning

    def _noise(self, sampling: SamplingBatch, rows: Sequence[Running], width: int) -> Tensor | None:
        """Gumbel noise [B, width, V] for the target's own samples, keyed by absolute position."""
        stream = Stream.RESIDUAL if self._rejecting else Stream.TARGET
        return sampling.gumbel([len(r.tokens) for r in rows], width, stream)

    def _draft_noise(
        self, sampling: SamplingBatch, rows: Sequence[Running], noise: Tensor | None
    ) -> Tensor | None:
        """What drafters draw with: the target's own noise when coupled, else independent of it."""
        if noise is None or not self._rejecting:
            return noise
        return sampling.gumbel([len(r.tokens) for r in rows], noise.shape[1], Stream.DRAFT)

    def _forward(self, rows: Sequence[Running], drafted: Drafted) -> Tensor:
        """The target's raw logits [B, K + 1, V] after the last token and after each draft."""
        last = torch.tensor([[r.tokens[-1]] for r in rows], device=drafted.tokens.device)
        tokens = torch.cat([last, drafted.tokens], 1)
        slots, starts = [r.context.slot for r in rows], [len(r.tokens) - 1 for r in rows]
        return self._target.forward(tokens, slots, starts, tokens.shape[1])

    def _accept(
        self,
        sampling: SamplingBatch,
        rows: Sequence[Running],
        logits: Tensor,
        drafted: Drafted,
        known: Tensor,
        noise: Tensor | None,
    ) -> Verdict:
        """From raw logits; see `defined` for its tokens. `known` is `drafted.tokens` where the sampling wants them."""
        processed = sampling.process(logits, known, 0)
        lengths = torch.tensor(drafted.lengths, device=logits.device)
        if not self._rejecting:
            verdict = coupled(processed, drafted.tokens, lengths, noise)
        else:
            uniform = sampling.uniform([len(r.tokens) for r in rows], drafted.tokens.shape[1])
            verdict = rejection(
                processed, drafted.tokens, lengths, drafted.probs, uniform, noise, sampling.greedy_rows
            )
        return Verdict(defined(verdict.tokens, logits), verdict.accepted)

    @staticmethod
    def _outcome(
        choice: Choice,
        length: int,
        fetched: list[int],
        logits: Tensor,
        seconds: Seconds,
        shared_by: int,
    ) -> Outcome:
        """`fetched` holds the verdict's M tokens, the accepted count, and the K = M - 1 drafts."""
        width = logits.shape[0]
        accepted, drafts = fetched[width], fetched[width + 1 :]
        name = choice.option.drafter if choice.option and length else None
        round = Round(name, tuple(drafts[:length]), accepted, seconds.draft, seconds.verify, shared_by)
        return Outcome(fetched[: accepted + 1], round, logits)

    def _learn(
        self,
        planned: Sequence[Row],
        choices: Sequence[Choice],
        outcomes: Sequence[Outcome],
        size: int,
        seconds: Seconds,
    ) -> None:
        steps = {
            (c.option.drafter, c.length)
            for c, o in zip(choices, outcomes, strict=True)
            if c.option and not c.option.free and o.round and o.round.drafted
        }
        if len(steps) == 1:  # several would share the time in unknown parts
            ((name, length),) = steps
            self._controller.draft_costs[name].observe(length, seconds.draft)
        self._controller.verify_cost.observe(size, seconds.verify)
        for row, choice, outcome in zip(planned, choices, outcomes, strict=True):
            if outcome.round and choice.option:
                self._controller.observe(
                    row, choice.option, len(outcome.round.drafted), outcome.round.accepted
                )


def _fused(target: Runner, drafters: Sequence[Drafter]) -> FusedRounds | None:
    """Rounds on the device alone, where target and draft model decode in graphs."""
    if (target.info.kind, target.info.mode) != ("llama", "graphs"):
        return None
    from specdec.local.fused import FusedRounds  # with it comes Triton

    return FusedRounds.over(target, drafters)
