"""What the rows of a learning drafter attend to: all positions of a batch of texts at once, with gradients.

Sizes: B texts, Q rows each, R = B * Q, N query heads, G key/value heads, D head size, T keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.families.base import ModelFamily
from specdec.models.rope import Rope

KeysValues = tuple[Tensor, Tensor]
"""[R, G, D] each"""


@dataclass
class LearningRows:
    """One pass over a batch (a `layers.HeadAttention`). `before` are what earlier passes left, by layer; what this one
    leaves is added to it where `keeps` says so."""

    family: ModelFamily
    rope: Rope
    positions: Tensor
    """[B, Q]"""
    sees: Callable[[int | None], Tensor]
    """By a layer's window, [B or 1, Q, T] bool: which keys a row sees, those of `before` and then its own pass's."""
    before: dict[int, list[KeysValues]] = field(default_factory=dict)
    keeps: bool = False
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def rotate(self, x: Tensor) -> Tensor:
        """See `layers.HeadAttention.rotate`."""
        at = self.positions.flatten()
        return self.rope.rotate(x, self.rope.cos[at], self.rope.sin[at])

    def keep(self, index: int, keys: Tensor, values: Tensor) -> None:
        """See `layers.HeadAttention.keep`."""
        self.before.setdefault(index, []).append((keys, values))

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `layers.HeadAttention.attend`."""
        earlier = list(self.before.get(index, ()))
        if self.keeps:
            self.keep(index, keys, values)
        batch = self.positions.shape[0]
        parts = [*earlier, (keys, values)]
        seen = [torch.cat([self._heads(part[i], batch) for part in parts], 2) for i in (0, 1)]  # [B, N, T, D]
        rows = queries.view(batch, -1, self.family.heads, self.family.head_dim).transpose(1, 2)
        dtype = seen[1].dtype
        found = F.scaled_dot_product_attention(
            rows.to(dtype), seen[0].to(dtype), seen[1], attn_mask=self._mask(self.family.windows[index])
        )
        return found.transpose(1, 2).reshape(queries.shape[0], -1)

    def _heads(self, part: Tensor, batch: int) -> Tensor:
        """Keys or values [R, G, D] for each query head, [B, N, Q, D]."""
        each = part.view(batch, -1, self.family.kv_heads, self.family.head_dim).transpose(1, 2)
        return each.repeat_interleave(self.family.group, 1)

    def _mask(self, window: int | None) -> Tensor:
        if window not in self._masks:
            self._masks[window] = self.sees(window).unsqueeze(1)
        return self._masks[window]
