"""Keys and values of a head, by the target's slots, and what the rows of a pass see of them.

All shapes follow from the arguments' shapes and nothing waits for the device, so a pass may be part of a graph.

Sizes: B sequences, M rows each, R = B * M, N query heads, G key/value heads, D head size, T keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.families.base import ModelFamily
from specdec.models.rope import Rope


class HeadCache:
    """[2 * layers, slots + 1, G, capacity, D]: layer i's keys at 2i, its values at 2i + 1. The last slot is spare, for
    rows that only fill up a graph."""

    def __init__(
        self, family: ModelFamily, slots: int, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        size = (2 * family.layers, slots + 1, family.kv_heads, capacity, family.head_dim)
        self.family, self.capacity = family, capacity
        self.tensor = torch.zeros(size, dtype=dtype, device=device)
        self.rope = Rope(*family.rope, capacity, device)
        self.positions = torch.arange(capacity, device=device)

    def slide(self, slot: int) -> int:
        """Forget the older half of a slot that is full, and bring the rest to its front; returns by how many positions.
        Keys are turned back by as many."""
        by, rope = self.capacity // 2, self.rope
        kept = self.tensor[:, slot, :, by:].clone()
        kept[::2] = rope.rotate(kept[::2], rope.cos[by] / rope.cos[0], -rope.sin[by] / rope.cos[0])
        self.tensor[:, slot, :, : kept.shape[2]] = kept
        return by

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `prefixes.KeysValues`."""
        return (self.tensor[:, slot, :, start:end],)


@dataclass(frozen=True)
class CachedRows:
    """The rows of a pass (a `layers.HeadAttention`): `count` of each sequence, from `starts` on. They see what their
    slot holds before them; what it held from there on is overwritten."""

    cache: HeadCache
    slots: Tensor
    """[B] int64"""
    starts: Tensor
    """[B] int64"""
    count: int
    end: int | None = None
    """No row stands here or beyond; None: not known on the host."""
    block: bool = False
    """Whether rows of a sequence see each other whatever their order."""
    causal_windows: bool = False
    """Whether they do not, in layers with a window."""

    @cached_property
    def _positions(self) -> Tensor:
        """[B, M]"""
        return self.starts.unsqueeze(1) + self.cache.positions[: self.count]

    @cached_property
    def _rotation(self) -> tuple[Tensor, Tensor]:
        at = self._positions.flatten()
        return self.cache.rope.cos[at], self.cache.rope.sin[at]

    def rotate(self, x: Tensor) -> Tensor:
        """See `layers.HeadAttention.rotate`."""
        return self.cache.rope.rotate(x, *self._rotation)

    def keep(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Write keys and values [R, G, D] of layer `index`."""
        shape, slots = (*self._positions.shape, *keys.shape[1:]), self.slots.unsqueeze(1)
        self.cache.tensor[2 * index][slots, :, self._positions] = keys.view(shape)
        self.cache.tensor[2 * index + 1][slots, :, self._positions] = values.reshape(shape)

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `layers.HeadAttention.attend`."""
        self.keep(index, keys, values)
        family, (batch, count) = self.cache.family, self._positions.shape
        rows = queries.view(batch, count, family.kv_heads, family.group, family.head_dim)
        rows = rows.permute(0, 2, 3, 1, 4).reshape(batch, family.kv_heads, -1, family.head_dim)
        layer = self.cache.tensor[2 * index : 2 * index + 2, :, :, : self.end]
        held_keys, held_values = (part.index_select(0, self.slots) for part in layer)  # [B, G, T, D]
        mask = self._mask(family.windows[index])
        found = F.scaled_dot_product_attention(rows, held_keys, held_values, attn_mask=mask)
        found = found.view(batch, family.kv_heads, family.group, count, family.head_dim)
        return found.permute(0, 3, 1, 2, 4).reshape(batch * count, -1)

    def ordered(self, window: int | None) -> bool:
        """Whether rows of a layer with such a window see only those of their sequence that come before."""
        return not self.block or (self.causal_windows and window is not None)

    def _mask(self, window: int | None) -> Tensor:
        """[B, 1, N / G * M, T] bool: which keys a row sees. A block stands as a whole where its first row does."""
        keys, query = self.cache.positions[: self.end], self._positions.unsqueeze(-1)
        seen = keys <= (query[:, -1:] if self.block and not self.ordered(window) else query)
        if window is not None:
            seen = seen & (keys >= query[:, :1] - window if self.block else keys > query - window)
        seen = seen.expand(-1, self.count, -1)
        return seen.unsqueeze(1).repeat(1, 1, self.cache.family.group, 1)
