"""What sampling remembers of one sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.errors import InvalidRequest
from specdec.grammars.matcher import Matcher
from specdec.transfer import to_device
from specdec.types import SamplingParams

_TINY = torch.finfo(torch.float32).tiny


def resolved(x: float | None) -> float:
    """A parameter that `SamplingParams.with_defaults` has filled."""
    if x is None:
        raise TypeError("SamplingParams must have its defaults resolved")
    return x


@dataclass(frozen=True, slots=True)
class RowShape:
    """The shaping parameters of one row, as numbers that processors take."""

    temperature: float = 1.0
    top_k: float = 0
    top_p: float = 1.0
    min_p: float = 0.0
    log_min_p: float = math.log(_TINY)


class SamplerState:
    """The sampling parameters of one sequence, its seed, and what its penalties count.

    `params` has its defaults resolved. `stop_ids` are the tokens that `min_tokens` forbids. `outputs` is the number of
    committed output tokens; `counts` [V] fp32 how often each was committed, `prompted` [V] bool which tokens the
    prompt holds: both None unless a penalty needs them. `grammar` follows the committed output. `bias` are ids [N] and
    what is added to their logits [N] fp32.
    """

    def __init__(
        self,
        params: SamplingParams,
        seed: int,
        prompt: Sequence[int],
        stop_ids: frozenset[int],
        vocab_size: int,
        device: torch.device,
        grammar: Matcher | None = None,
    ) -> None:
        for token in params.logit_bias:
            if token >= vocab_size:
                raise InvalidRequest("logit_bias", token, f"token ids below {vocab_size}")
        self.params, self.seed, self.vocab_size, self.device = params, seed, vocab_size, device
        self.grammar = grammar
        self.greedy = params.temperature == 0
        self.shape = RowShape()  # a greedy row takes the most likely token, which no shaping changes
        if not self.greedy:
            values = (params.temperature, params.top_k, params.top_p, params.min_p)
            temperature, top_k, top_p, min_p = map(resolved, values)
            self.shape = RowShape(max(temperature, _TINY), top_k, top_p, min_p, math.log(max(min_p, _TINY)))
        self.outputs = 0
        self.bias: tuple[Tensor, Tensor] | None = None
        if params.logit_bias:
            added = torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device)
            self.bias = self._ids(list(params.logit_bias)), added
        self.early_ids = [i for i in sorted(stop_ids) if i < vocab_size] if params.min_tokens else []
        self.forbidden = self._ids(self.early_ids) if params.min_tokens else None
        self.counts: Tensor | None = None
        self.prompted: Tensor | None = None
        if params.repetition_penalty != 1 or params.presence_penalty or params.frequency_penalty:
            self.counts = torch.zeros(vocab_size, device=device)
            self.prompted = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            self.prompted[self._ids(prompt)] = True
        edits = self.bias, self.forbidden, self.counts
        self.plain = grammar is None and params.logprobs is None and all(edit is None for edit in edits)
        """Whether temperature, top_k, top_p and min_p are all that shapes this row, and nobody asks for logprobs."""

    def commit(self, tokens: Sequence[int]) -> None:
        """Count `tokens` as output."""
        self.outputs += len(tokens)
        if self.grammar is not None:
            self.grammar.commit(tokens)
        if self.counts is not None:
            ids = self._ids(tokens)
            self.counts.scatter_add_(0, ids, torch.ones_like(ids, dtype=torch.float32))

    def _ids(self, tokens: Sequence[int]) -> Tensor:
        return to_device(tokens, self.device)
