"""Rounds that the host leads: draft, verify, accept. One synchronisation with the device, at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.decoding.rounds.base import Outcomes, Plan
from specdec.decoding.rounds.clock import DeviceClock, Seconds
from specdec.decoding.rounds.drafting import Drafted, Drafting
from specdec.decoding.sequence import Outcome, Running
from specdec.decoding.speculation.controller import Choice, Controller
from specdec.decoding.speculation.ready import EVERYTHING, Ready
from specdec.models.base import Batch, Model, Pass
from specdec.models.graphs import Fetched
from specdec.sampling.accept import Verdict, coupled, defined, rejection
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.noise import Stream
from specdec.transfer import to_device
from specdec.types import AcceptRule, Round


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """Of answers, on their way to the host."""

    rows: Sequence[Running]
    tokens: Fetched
    logits: Tensor
    """[B, 1, V], which they were chosen from."""


class HostRounds:
    """Runs any plan (see `base.Rounds`)."""

    def __init__(
        self, target: Model, drafting: Drafting, controller: Controller, rule: AcceptRule, *, alone: bool
    ) -> None:
        self._target, self._drafting, self._controller, self._alone = target, drafting, controller, alone
        self._rejecting = rule == "rejection"
        self._stream = Stream.RESIDUAL if self._rejecting else Stream.TARGET
        """Of the noise that the target's own samples are drawn with."""
        self._clock = DeviceClock(target.info.device)
        self._outcomes = Outcomes()
        self.pending = False
        """See `base.Rounds.pending`."""

    def ready(self, sampling: SamplingBatch) -> Ready:  # noqa: ARG002
        """See `base.Rounds.ready`: any number."""
        return EVERYTHING

    def accepts(self, plan: Plan) -> bool:  # noqa: ARG002
        """See `base.Rounds.accepts`: any."""
        return True

    def collect(self) -> Outcomes:
        """See `base.Rounds.collect`."""
        self.pending = False
        outcomes, self._outcomes = self._outcomes, Outcomes()
        return outcomes

    def warm_up(self, defaults: Mapping[str, float]) -> None:  # noqa: ARG002
        """See `base.Rounds.warm_up`: the models' first passes."""
        if not self._alone:
            self._target.warm_up(self._drafting.features)
            for drafter in self._drafting.observers:
                drafter.warm_up()

    def prepare(self) -> bool:
        """See `base.Rounds.prepare`: the graphs of the models' own passes."""
        return self._target.prepare() or any(drafter.prepare() for drafter in self._drafting.observers)

    def submit(self, plan: Plan) -> None:
        """See `base.Rounds.submit`."""
        rows, sampling = plan.rows, plan.sampling
        began = self._clock.mark()
        positions = [len(r.tokens) for r in rows]
        noise = sampling.gumbel(positions, 1 + max(c.length for c in plan.choices), self._stream)
        drafting = self._clock.mark()

        def draft_noise() -> Tensor | None:
            """What drafters draw with: the target's own noise when coupled, else independent of it."""
            if noise is None or not self._rejecting:
                return noise
            return sampling.gumbel(positions, noise.shape[1], Stream.DRAFT)

        drafted = self._drafting.collect(rows, sampling, plan.choices, plan.offers, draft_noise)
        known = sampling.on_host(drafted.tokens)
        verifying = self._clock.mark()
        last = to_device([[r.tokens[-1]] for r in rows], drafted.tokens.device)
        tokens = torch.cat([last, drafted.tokens], 1)
        slots, starts = [r.context.slot for r in rows], [len(r.tokens) - 1 for r in rows]
        found = self._target.run(Batch(tokens, slots, starts, tokens.shape[1], self._drafting.features))
        verdict = self._accept(sampling, rows, found.logits, drafted, known, noise)
        ended = self._clock.mark()

        fetched = torch.cat([verdict.tokens, verdict.accepted.unsqueeze(1), drafted.tokens], 1).tolist()  # the one sync
        draft_seconds = self._clock.seconds(drafting, verifying) if drafted.tokens.shape[1] else 0.0
        seconds = Seconds(draft_seconds, self._clock.seconds(began, ended) - draft_seconds)
        self._outcomes = {
            row: _outcome(plan.choices[b], drafted.lengths[b], fetched[b], found, b, seconds, len(rows))
            for b, row in enumerate(rows)
        }
        self.pending = True
        self._learn(plan.choices, drafted, found.logits, seconds)

    def first(self, rows: Sequence[Running], logits: Tensor) -> FirstTokens:
        """The tokens that come out of prefill: logits [B, 1, V]."""
        sampling = SamplingBatch([row.sampler for row in rows])
        none = Drafted(torch.empty(len(rows), 0, dtype=torch.long, device=logits.device), (0,) * len(rows))
        noise = sampling.gumbel([len(r.tokens) for r in rows], 1, self._stream)
        verdict = self._accept(sampling, rows, logits, none, none.tokens, noise)
        return FirstTokens(rows, Fetched(verdict.tokens.flatten()), logits)

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
        processed = logits if sampling.trivial else sampling.process(logits, known, 0)
        lengths = to_device(drafted.lengths, logits.device)
        if not self._rejecting:
            verdict = coupled(processed, drafted.tokens, lengths, noise)
        else:
            uniform = sampling.uniform([len(r.tokens) for r in rows], drafted.tokens.shape[1])
            verdict = rejection(processed, drafted.tokens, lengths, drafted.probs, uniform, noise, sampling.greedy_rows)
        return Verdict(defined(verdict.tokens, logits), verdict.accepted)

    def _learn(self, choices: Sequence[Choice], drafted: Drafted, logits: Tensor, seconds: Seconds) -> None:
        steps = {
            (c.option.drafter, c.length)
            for c, length in zip(choices, drafted.lengths, strict=True)
            if c.option and not c.option.free and length
        }
        if len(steps) == 1:  # several would share the time in unknown parts
            ((name, length),) = steps
            self._controller.draft_costs[name].observe(length, seconds.draft)
        self._controller.verify_cost.observe(logits.shape[0] * logits.shape[1], seconds.verify)


def _outcome(
    choice: Choice, length: int, fetched: list[int], found: Pass, b: int, seconds: Seconds, shared_by: int
) -> Outcome:
    """Row b's. `fetched` holds the verdict's M tokens, the accepted count, and the K = M - 1 drafts."""
    width = found.logits.shape[1]
    accepted, drafts = fetched[width], fetched[width + 1 :]
    name = choice.option.drafter if choice.option and length else None
    round = Round(name, tuple(drafts[:length]), accepted, seconds.draft, seconds.verify, shared_by)
    features = None if found.features is None else found.features[b]
    return Outcome(fetched[: accepted + 1], round, found.logits[b], features, choice.option)
