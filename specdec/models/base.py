"""What runs one model over slots.

A runner owns the weights and a static slot cache of keys and values. It knows no sequence lengths: the caller says
where each row starts, and rolling back is saying a smaller start next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """Constant facts of a loaded model."""

    name: str
    architecture: str
    kind: str
    """"llama" or "hf"."""
    mode: str
    """"eager" or "graphs"."""
    vocab_size: int
    """Width of the logits; may exceed the tokenizer's."""
    context: int
    """Positions a slot can hold for the caller (the cache itself holds MAX_SPECULATIVE_TOKENS + 1 more)."""
    slots: int
    device: torch.device
    dtype: torch.dtype
    parameters: int
    weight_bytes: int
    cache_bytes: int
    can_rollback: bool
    """False for recurrent state: then `starts` must equal what the slot holds, or 0, which clears it."""


class Runner(Protocol):
    """One model over slots. Not thread-safe: one worker calls it."""

    @property
    def info(self) -> RunnerInfo: ...

    def forward(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """Run tokens [B, M] (int64, on the runner's device) and write their keys and values.

        Row b sits in slot slots[b] at positions starts[b] .. starts[b] + M - 1 and attends to what the slot
        holds below starts[b] and to itself, causally. What the slot held at or beyond starts[b] is overwritten or
        ignored. Rows may be padded at the end with any valid id: the caller overwrites them later.
        Returns fp32 logits [B, keep, V] of the last `keep` positions (0 <= keep <= M).
        """
        ...

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """Views [..., end - start, D] of the keys and values that the slot holds at these positions. To copy them out,
        and back into any slot at the same positions. Nothing where the state cannot be rolled back."""
        ...
