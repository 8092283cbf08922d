"""Tokens drawn from a drafter's logits as the target would draw them, one after another, with q if it is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from specdec.drafters.base import DraftRound


class Drawing:
    """The drafts of one round that the host leads: `choose` is called for each, in order. Nothing here waits for the
    device, but for rows with a grammar: their next mask follows from the drafts so far."""

    def __init__(self, round: DraftRound, k: int, vocab_size: int, device: torch.device) -> None:
        self._round, self._vocab_size, self._device = round, vocab_size, device
        rows = len(round.contexts)
        self.tokens = torch.zeros(rows, k, dtype=torch.int64, device=device)
        """[B, k]"""
        self.probs = torch.empty(rows, k, vocab_size, device=device) if round.need_probs else None
        """q [B, k, V]"""
        self._greedy = round.sampling.greedy_rows if round.need_probs else None

    def choose(self, logits: Tensor, first: int) -> Tensor:
        """Tokens [B, M] for the first-th draft on, from raw logits [B, M, V]."""
        round, sampling = self._round, self._round.sampling
        for j, own in enumerate(torch.split(fitted(logits, self._vocab_size, self._device), 1, 1), first):
            scores = (own if sampling.trivial else sampling.process(own, self.tokens[:, :j], j))[:, 0]  # [B, V]
            token = (scores if round.noise is None else scores + round.noise[:, j]).argmax(-1)  # [B]
            self.tokens[:, j] = token
            if self.probs is not None:
                # one-hot where it was certain: by greed, or because every id that the drafter knows is masked
                sure = scores.amax(-1) == float("-inf")
                sure = sure if self._greedy is None else sure | self._greedy
                one_hot = torch.zeros_like(scores).scatter_(1, token.view(-1, 1), 1.0)
                self.probs[:, j] = torch.where(sure.view(-1, 1), one_hot, scores.softmax(-1))
        return self.tokens[:, first : first + logits.shape[1]]


def fitted(logits: Tensor, vocab_size: int, device: torch.device) -> Tensor:
    """Logits as wide as the target's: unknown ids are impossible, and so is what is not a number."""
    logits = logits[..., :vocab_size].to(device)
    missing = vocab_size - logits.shape[-1]
    if missing:
        logits = torch.nn.functional.pad(logits, (0, missing), value=float("-inf"))
    return torch.nan_to_num(logits, nan=float("-inf"), neginf=float("-inf"))
