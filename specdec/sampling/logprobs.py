"""Logprobs for people and protocols: of the target's raw distribution, before any processor."""

from __future__ import annotations

from torch import Tensor

TokenScores = tuple[float, tuple[tuple[int, float], ...]]
"""A token's own logprob, and (id, logprob) of the most likely ones."""


def logprobs(raw_logits: Tensor, tokens: Tensor, top: int) -> list[TokenScores]:
    """For raw_logits [M, V] fp32 and tokens [M]: each token's logprob and the `top` most likely, ties by id."""
    every = raw_logits.log_softmax(-1)
    own: list[float] = every.gather(-1, tokens.to(every.device).unsqueeze(-1)).squeeze(-1).tolist()
    if top == 0:
        return [(value, ()) for value in own]
    threshold = every.topk(min(top, every.shape[-1]), -1).values[:, -1:]
    found: list[TokenScores] = []
    for value, row, least in zip(own, every, threshold, strict=True):
        ids = (row >= least).nonzero().squeeze(-1)
        pairs = zip(ids.tolist(), row[ids].tolist(), strict=True)
        found.append((value, tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:top])))
    return found
