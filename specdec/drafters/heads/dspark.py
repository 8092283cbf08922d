"""DSpark (arXiv 2607.05147): a DFlash block whose rows are chosen one after another, each with a bias that follows from
the token before, and a guess of how likely it is accepted."""

from __future__ import annotations

import torch
from torch import Tensor

from specdec.drafters.heads.base import Choose
from specdec.drafters.heads.config import Markov
from specdec.drafters.heads.dflash import BlockHead
from specdec.drafters.heads.parts import HeadParts
from specdec.models.weights.base import Weight


class MarkovHead(BlockHead):
    """See `base.Head`."""

    def __init__(self, parts: HeadParts) -> None:
        super().__init__(parts)
        config, tensors = parts.config, parts.tensors
        assert config.markov is not None
        markov, hidden = config.markov, config.family.hidden
        rank = markov.rank
        self.markov: Markov = markov
        self.before = tensors.tensor("markov_head.markov_w1.weight", config.family.vocab, rank)
        self.bias = tensors.weight(["markov_head.markov_w2"], (config.draft_vocab,), rank)
        self.mix: Weight | None = None
        if markov.kind == "gated":
            self.mix = tensors.weight(["markov_head.gate_proj"], (rank,), hidden + rank)
        elif markov.kind == "rnn":
            self.mix = tensors.weight(["markov_head.joint_proj"], (3 * rank,), 2 * rank + hidden)
        self.confidence: Weight | None = None
        if markov.confidence:
            reads = hidden + (rank if markov.confidence_reads_token else 0)
            self.confidence = tensors.weight(["confidence_head.proj"], (1,), reads)

    def walk(self, hidden: Tensor, last: Tensor, choose: Choose) -> Tensor | None:
        """See `dflash.BlockHead.walk`."""
        logits, state = self.logits(hidden), hidden.new_zeros(hidden.shape[0], self.markov.rank)
        seen: list[Tensor] = []
        for j in range(hidden.shape[1]):
            before = self.before[last[:, 0].clamp(max=self.before.shape[0] - 1)]  # [B, r]
            biased, state = self.biased(hidden[:, j], before, state)
            seen.append(before)
            last = choose((logits[:, j] + self.vocabulary.placed(self.bias(biased).float())).unsqueeze(1), j)
        return self.chances(hidden, torch.stack(seen, 1))

    def chances(self, hidden: Tensor, before: Tensor) -> Tensor | None:
        """How likely each draft is accepted, [B, k], from rows [B, k, H] and the tokens before them [B, k, r]."""
        if self.confidence is None:
            return None
        reads = torch.cat((hidden, before), -1) if self.markov.confidence_reads_token else hidden
        return self.confidence(reads.flatten(0, 1)).float().sigmoid().view(hidden.shape[:2])

    def biased(self, hidden: Tensor, before: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """What the bias is made of, from a row [B, H], the token before it [B, r] and what rows before left [B, r]."""
        if self.mix is None:
            return before, state
        if self.markov.kind == "gated":
            return self.mix(torch.cat((hidden, before), -1)).sigmoid() * before, state
        gate, candidate, out = self.mix(torch.cat((state, before, hidden), -1)).chunk(3, -1)
        gate = gate.sigmoid()
        return out.tanh(), gate * state + (1 - gate) * candidate.tanh()
