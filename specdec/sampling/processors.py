"""Logits processors: pure functions on logits [B, M, V] fp32, each row with parameters of its own.

No value of a row depends on another row: parameters broadcast, a neutral one leaves its row bit for bit as it was,
and sums whose order a device may choose are taken over integers. The order of application is that of
`SamplingParams`. Where there are ties: top_k keeps all tokens that tie with the k-th (as transformers does), top_p
takes equals by id.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = float("-inf")
FIXED = 2.0**40
"""What the likeliest token's mass counts for in top_p."""
NEGLIGIBLE = -64.0
"""Below the likeliest token's logit: no mass."""
_CANDIDATES = (128, 2048)


def occurrences(committed: Tensor, drafted: Tensor, first: int, rows: int) -> Tensor:
    """How often each token precedes row i as output: committed [B, V], plus drafted [B, D] below first + i.

    Returns [B, rows, V] fp32.
    """
    batch, depth = drafted.shape
    device = drafted.device
    before = torch.arange(depth, device=device) < first + torch.arange(rows, device=device).unsqueeze(-1)
    index = drafted.unsqueeze(1).expand(batch, rows, depth)
    counts = committed.unsqueeze(1).repeat(1, rows, 1)
    return counts.scatter_add_(2, index, before.to(counts.dtype).expand(batch, rows, depth))


def repetition(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Make tokens `seen` [B, M, V] less likely by a factor, penalty [B, 1, 1] (Keskar et al. 2019, CTRL)."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def presence_and_frequency(logits: Tensor, counts: Tensor, presence: Tensor, frequency: Tensor) -> Tensor:
    """OpenAI's penalties, [B, 1, 1] each: once per token that occurs, and once per occurrence; counts [B, M, V]."""
    return logits - frequency * counts - presence * (counts > 0)


def temperature(logits: Tensor, value: Tensor) -> Tensor:
    """logits / value [B, 1, 1], shifted to a maximum of 0: the tiniest temperature stays finite. 1 is neutral."""
    largest = logits.amax(-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).min)  # all may be masked
    shift = torch.where(value == 1, 0.0, largest)
    return (logits - shift) / value


def top_k(logits: Tensor, k: Tensor, largest: int) -> Tensor:
    """Keep the k [B, 1, 1] most likely tokens of each row, 1 <= k <= largest <= V."""
    best = logits.topk(largest, -1).values
    threshold = best.gather(-1, (k - 1).expand(*best.shape[:2], 1))
    return logits.masked_fill(logits < threshold, NEVER)


def top_p(logits: Tensor, p: Tensor) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches p [B, 1, 1] (Holtzman et al. 2020)."""
    # Integer sums: the order in which a device adds up cannot matter.
    apart = logits - logits.amax(-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).min)  # all may be masked
    mass = (torch.where(apart >= NEGLIGIBLE, apart.exp(), 0.0) * FIXED).long()
    total = mass.sum(-1, keepdim=True)
    goal = (p.double() * total.double()).long().clamp(min=1)  # p may round to 0
    goal = torch.where(p >= 1, total + 1, goal)
    width = logits.shape[-1]
    # A few candidates nearly always hold the set. Looking whether they do is free on the CPU, a sync elsewhere.
    sizes = [c for c in _CANDIDATES if c < width] if logits.device.type == "cpu" else []
    for size in (*sizes, width):
        best, order = logits.topk(size, -1) if size < width else logits.sort(dim=-1, descending=True)
        each = mass.gather(-1, order)
        inside = each.cumsum(-1) - each < goal
        least = best.gather(-1, inside.sum(-1, keepdim=True) - 1)
        if size == width or bool((least > best[..., -1:]).all()):
            break
    taken = (inside & (best == least)).sum(-1, keepdim=True)  # of the tokens that are as likely as the least likely
    tied = logits == least
    return logits.masked_fill((logits < least) | (tied & (tied.cumsum(-1) > taken)), NEVER)


def min_p(logits: Tensor, log_p: Tensor) -> Tensor:
    """Keep tokens at least exp(log_p [B, 1, 1]) times as likely as the most likely one (Nguyen et al. 2024).

    A ratio of probabilities is a difference of logits, so what top_k and top_p took away does not matter.
    """
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + log_p, NEVER)
