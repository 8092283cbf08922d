"""What the drafters without a model share: rows of Python ints to Drafts, and names for match lengths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from specdec.drafters.base import Drafts


def bucket(length: int) -> str:
    """Match lengths of like quality: "1", "2", "3", "4-7", "8-15", "16+"."""
    if length < 4:
        return str(length)
    if length < 8:
        return "4-7"
    return "8-15" if length < 16 else "16+"


def certain(rows: Sequence[Sequence[int]], sources: Sequence[str], k: int) -> Drafts:
    """One-hot proposals, as long as each row is; tokens [B, k] on the CPU."""
    if not any(rows):
        return Drafts(_zeros(len(rows), k), (0,) * len(rows), tuple(sources))
    padded = [[*row, *[0] * (k - len(row))] for row in rows]
    tokens = torch.tensor(padded, dtype=torch.int64).view(len(rows), k)
    return Drafts(tokens, tuple(map(len, rows)), tuple(sources))


@cache
def nothing(source: str, count: int, k: int) -> Drafts:
    """Rounds for which a drafter is of no use are most, and shall not pay for the others."""
    return Drafts(_zeros(count, k), (0,) * count, (source,) * count)


@cache
def _zeros(count: int, k: int) -> Tensor:
    return torch.zeros(count, k, dtype=torch.int64)
