"""The accept rules: pure functions, tensor in, tensor out, no sync.

Row i of `logits` is the target's processed distribution after i drafts; p = softmax(logits), q the draft's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the target makes of a round's drafts.

    `tokens` [B, M] int64: row b holds the accepted drafts, then the target's own token at index accepted[b]; what
    lies beyond means nothing. `accepted` [B] int64.
    """

    tokens: Tensor
    accepted: Tensor


def coupled(logits: Tensor, drafted: Tensor, lengths: Tensor, noise: Tensor | None) -> Verdict:
    """Accept a draft if and only if it is the target's own sample, drawn by Gumbel-max with the position's noise.

    Daliri, Musco and Suresh 2024, "Coupling without Communication and Drafter-Invariant Speculative Decoding". The
    output never depends on the drafts. Greedy is the case without noise.

    logits [B, M, V] fp32 processed, drafted [B, k = M - 1] int64, lengths [B] int64 <= k,
    noise [B, M or more, V] or None.
    """
    tokens = (logits if noise is None else logits + noise[:, : logits.shape[1]]).argmax(-1)
    if not drafted.shape[1]:
        return Verdict(tokens, lengths)
    return Verdict(tokens, _leading(tokens[:, :-1] == drafted, lengths))


def rejection(
    logits: Tensor,
    drafted: Tensor,
    lengths: Tensor,
    probs: Tensor | None,
    uniform: Tensor,
    noise: Tensor | None,
    greedy: Tensor | None = None,
) -> Verdict:
    """Accept a draft x with chance min(1, p(x) / q(x)), else sample from norm(max(p - q, 0)).

    Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding"; Chen et al. 2023,
    "Accelerating Large Language Model Decoding with Speculative Sampling". `probs` must be the very
    distributions the drafts were drawn from, and the draft's draw, `uniform` and `noise` independent.

    logits [B, M, V] fp32 processed, drafted [B, k = M - 1] int64, lengths [B] int64 <= k, probs [B, k, V] fp32 or None
    (certain proposals), uniform [B, k], noise [B, M or more, V] of the RESIDUAL stream, zero in greedy rows (None: all
    rows are greedy), greedy [B] bool (None: no row is, unless noise is None).
    """
    p = logits.softmax(-1)
    if noise is None or greedy is not None:  # all mass on the most likely token in greedy rows
        certain = torch.zeros_like(p).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        p = certain if noise is None or greedy is None else torch.where(greedy.view(-1, 1, 1), certain, p)
    at = drafted.unsqueeze(-1)
    drafted_p = p[:, :-1].gather(-1, at).squeeze(-1)
    drafted_q = torch.ones_like(drafted_p) if probs is None else probs.gather(-1, at).squeeze(-1)
    accepted = _leading(uniform * drafted_q < drafted_p, lengths)
    own = _own(p, drafted, probs, accepted, accepted < lengths, noise)
    padded = torch.cat([drafted, torch.zeros_like(own)], 1)
    return Verdict(padded.scatter(1, accepted.unsqueeze(1), own), accepted)


UNDEFINED = -1
"""Stands where a token would, but the logits name none."""


def defined(tokens: Tensor, raw: Tensor) -> Tensor:
    """Tokens [B, M] that were chosen from the raw logits [B, M, V]: UNDEFINED where these hold NaN, or the highest is
    infinite."""
    return tokens.masked_fill(~raw.amax(-1).isfinite(), UNDEFINED)


def _leading(accept: Tensor, lengths: Tensor) -> Tensor:
    """The number of accepted drafts before the first refused one; accept [B, k] bool, lengths [B]."""
    within = torch.arange(accept.shape[1], device=accept.device) < lengths.unsqueeze(1)
    return (accept & within).long().cumprod(1).sum(1)


def _own(
    p: Tensor, drafted: Tensor, probs: Tensor | None, accepted: Tensor, refused: Tensor, noise: Tensor | None
) -> Tensor:
    """The target's own token [B, 1] at index `accepted`: recovered where a draft was `refused` [B], else bonus."""
    weights = _at(p, accepted)
    if drafted.shape[1] > 0:
        draft = accepted.clamp(max=drafted.shape[1] - 1)
        if probs is None:
            residual = weights.scatter(-1, drafted.gather(1, draft.unsqueeze(1)), 0.0)
        else:
            residual = (weights - _at(probs, draft)).clamp_(min=0)
        # Where p <= q everywhere but for rounding, the residual is empty and p itself is the nearest truth.
        recover = refused.unsqueeze(1) & residual.gt(0).any(-1, keepdim=True)
        weights = torch.where(recover, residual, weights)
    scores = weights.log()
    return (scores if noise is None else scores + _at(noise, accepted)).argmax(-1, keepdim=True)


def _at(x: Tensor, index: Tensor) -> Tensor:
    """Row index[b] of each x[b]: [B, M, V] and [B] -> [B, V]."""
    return x.gather(1, index.view(-1, 1, 1).expand(-1, 1, x.shape[-1])).squeeze(1)
