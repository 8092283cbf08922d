"""The sampling states of the sequences of one round, applied to their logits together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from specdec.grammars.matcher import ban, fill_masks, unpack
from specdec.sampling import noise, processors
from specdec.sampling.noise import Stream
from specdec.sampling.state import RowShape, SamplerState, resolved
from specdec.transfer import to_device

_NEUTRAL = RowShape()


def _apply(
    logits: Tensor, values: Sequence[float], neutral: float, processor: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """logits [B, M, V] with `processor` applied to the rows whose value is not neutral; never in place."""
    rows = [i for i, value in enumerate(values) if value != neutral]
    if not rows:
        return logits
    touched = to_device([values[i] for i in rows], logits.device, torch.float32).view(-1, 1, 1)
    if len(rows) == len(values):
        return processor(logits, touched)
    index = to_device(rows, logits.device)
    return logits.index_copy(0, index, processor(logits.index_select(0, index), touched))


class SamplingBatch:
    """Rows of a round, in the order given.

    `greedy`: all rows are. `trivial`: `process` returns its logits untouched. `plain`: all rows are (see
    `SamplerState`). `constrained`: the rows with a grammar.
    """

    def __init__(self, states: Sequence[SamplerState]) -> None:
        self.states = tuple(states)
        self.greedy = all(s.greedy for s in states)
        self.plain = all(s.plain for s in states)
        self.constrained = [i for i, s in enumerate(states) if s.grammar is not None]
        self._biased = [i for i, s in enumerate(states) if s.bias is not None]
        self._ending = [i for i, s in enumerate(states) if s.forbidden is not None and s.grammar is None]
        self._penalised = [i for i, s in enumerate(states) if s.counts is not None]
        self._shaped = any(s.shape != _NEUTRAL for s in states)
        self._edited = bool(self.constrained or self._biased or self._ending or self._penalised)
        self.trivial = not self._shaped and not self._edited

    @property
    def greedy_rows(self) -> Tensor | None:
        """[B] bool on the states' device, for `accept.rejection`; None when no row is greedy."""
        rows = [s.greedy for s in self.states]
        return to_device(rows, self.states[0].device, torch.bool) if any(rows) else None

    def on_host(self, drafted: Tensor) -> Tensor:
        """`drafted` as `process` wants it: where a row has a grammar, on the host. To be called before the pass whose
        logits are processed, or reading the tokens would wait for that pass."""
        return drafted.cpu() if self.constrained else drafted

    def process(self, logits: Tensor, drafted: Tensor, first: int) -> Tensor:
        """The logits to sample from, [B, M, V] fp32: masked ones are -inf, the given ones stay as they are.

        Row i of sequence b follows its committed tokens and drafted[b, :first + i] (int64 [B, D]). A softmax of
        a row is exactly the distribution to sample from; of a greedy row the argmax is the token.
        """
        if self._edited:
            logits = logits.clone()
            if self.constrained:
                self._constrain(logits, drafted, first)
            drafted = drafted.to(logits.device)
            for row in self._biased:
                if bias := self.states[row].bias:
                    logits[row].index_add_(-1, bias[0], bias[1].expand(logits.shape[1], -1))
            for row in self._ending:
                state = self.states[row]
                early = state.params.min_tokens - state.outputs - first
                if early > 0 and state.forbidden is not None:
                    logits[row, :early].index_fill_(-1, state.forbidden, processors.NEVER)
            if self._penalised:
                rows = to_device(self._penalised, logits.device)
                logits.index_copy_(0, rows, self._penalise(logits.index_select(0, rows), drafted[rows], first))
        if not self._shaped:
            return logits
        shapes, width = [s.shape for s in self.states], logits.shape[-1]
        limits = [s.top_k for s in shapes]
        largest = min(int(max(limits)), width)
        logits = _apply(logits, [s.temperature for s in shapes], _NEUTRAL.temperature, processors.temperature)
        logits = _apply(
            logits, limits, _NEUTRAL.top_k, lambda x, k: processors.top_k(x, k.long().clamp(max=width), largest)
        )
        logits = _apply(logits, [s.top_p for s in shapes], _NEUTRAL.top_p, processors.top_p)
        return _apply(logits, [s.log_min_p for s in shapes], _NEUTRAL.log_min_p, processors.min_p)

    def _constrain(self, logits: Tensor, drafted: Tensor, first: int) -> None:
        """Mask what the grammars forbid, in place. min_tokens is seen to here too, as the grammar has the last word."""
        states = [self.states[row] for row in self.constrained]
        matchers = [s.grammar for s in states if s.grammar is not None]
        drafts = drafted.tolist()
        pinned = logits.device.type == "cuda"
        masks = fill_masks(matchers, [drafts[row] for row in self.constrained], first, logits.shape[1], pinned)
        for state, matcher, rows in zip(states, matchers, masks, strict=True):
            early = state.params.min_tokens - state.outputs - first
            for i, row in enumerate(rows):
                if tokens := (*matcher.banned, *(state.early_ids if i < early else ())):
                    ban(row, tokens)
        allowed = unpack(masks.to(logits.device, non_blocking=True), logits.shape[-1])
        if len(self.constrained) == len(self.states):
            logits.masked_fill_(~allowed, processors.NEVER)
        else:
            index = to_device(self.constrained, logits.device)
            kept = logits.index_select(0, index).masked_fill_(~allowed, processors.NEVER)
            logits.index_copy_(0, index, kept)

    def _penalise(self, logits: Tensor, drafted: Tensor, first: int) -> Tensor:
        """Penalties over the penalised rows only: logits [R, M, V], drafted [R, D]."""
        states = [self.states[i] for i in self._penalised]
        committed = torch.stack([s.counts for s in states if s.counts is not None])
        prompted = torch.stack([s.prompted for s in states if s.prompted is not None])
        values = [
            (resolved(s.params.repetition_penalty), s.params.presence_penalty, s.params.frequency_penalty)
            for s in states
        ]
        factor, presence, frequency = to_device(values, logits.device, torch.float32).view(-1, 3, 1, 1).unbind(1)
        counts = processors.occurrences(committed, drafted, first, logits.shape[1])
        logits = processors.repetition(logits, (counts > 0) | prompted.unsqueeze(1), factor)
        return processors.presence_and_frequency(logits, counts, presence, frequency)

    def gumbel(self, positions: Sequence[int], count: int, stream: Stream) -> Tensor | None:
        """Noise [B, count, V] fp32, row j for position positions[b] + j; zeros in greedy rows, None if all are."""
        if self.greedy:
            return None
        first = self.states[0]
        seeds = [s.seed for s in self.states]
        drawn = noise.gumbel(seeds, positions, count, stream, first.vocab_size, first.device)
        greedy = self.greedy_rows
        return drawn if greedy is None else drawn.masked_fill_(greedy.view(-1, 1, 1), 0.0)

    def uniform(self, positions: Sequence[int], count: int) -> Tensor:
        """The accept draws of the rejection rule, [B, count] fp32 in [0, 1)."""
        rows = [
            [noise.uniform(s.seed, start + j, Stream.ACCEPT) for j in range(count)]
            for s, start in zip(self.states, positions, strict=True)
        ]
        return to_device(rows, self.states[0].device, torch.float32).view(len(rows), count)

    def select(self, rows: Sequence[int]) -> SamplingBatch:
        """The batch of these rows, in this order; states are shared."""
        return SamplingBatch([self.states[i] for i in rows])
