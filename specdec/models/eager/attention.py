"""Keys and values of all slots, and how the rows of one pass attend to them.

Sizes: B rows, M tokens each, R = B * M, N query heads, G key/value heads, D head size, T keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.base import DECODE_ROWS
from specdec.models.families.base import ModelFamily
from specdec.models.rope import Rope
from specdec.transfer import to_device

TILE = 256
"""Tokens of a long pass that attend together, to no more keys than the last of them sees."""
CALL_BYTES = 1 << 19
"""What a CPU reads in the time that one more call of attention takes."""


class SlotCache:
    """The keys and values of a model's slots, [2 * layers, slots, G, capacity, D]: layer i's keys at 2i, its values at
    2i + 1. `apart`: of a round each token attends in a call of its own, to the very bits that it has alone."""

    def __init__(
        self, family: ModelFamily, slots: int, capacity: int, rope: Rope, dtype: torch.dtype, *, apart: bool = False
    ) -> None:
        self.family, self.rope, self.capacity, self.apart = family, rope, capacity, apart
        self.windows = tuple(dict.fromkeys(family.windows))
        self.positions = torch.arange(capacity, device=rope.cos.device)
        self._size, self._dtype = (2 * family.layers, slots, family.kv_heads, capacity, family.head_dim), dtype

    @cached_property
    def tensor(self) -> Tensor:
        """Made when it is first wanted: where kernels run the model, it never is."""
        return torch.zeros(self._size, dtype=self._dtype, device=self.positions.device)

    @property
    def nbytes(self) -> int:
        return prod(self._size) * self._dtype.itemsize

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `prefixes.KeysValues`."""
        return (self.tensor[:, slot, :, start:end],)

    def rows(self, slots: Sequence[int], starts: Sequence[int], count: int) -> Rows:
        """How these rows, of `count` tokens each, attend fastest."""
        if self.apart and count <= DECODE_ROWS:
            slots = [slot for slot in slots for _ in range(count)]
            return SeparateRows(self, slots, [start + at for start in starts for at in range(count)], 1)
        if len(slots) == 1:
            return SingleRow(self, slots[0], starts[0], count)
        if self.tensor.is_cuda or self._padding(slots, [s + count for s in starts]) <= CALL_BYTES * len(slots):
            return PaddedRows(self, slots, starts, count)
        return SeparateRows(self, slots, starts, count)

    def _padding(self, slots: Sequence[int], ends: Sequence[int]) -> int:
        """Bytes of a layer that rows side by side read, or copy, beyond what they hold."""
        longest = len(slots) * max(ends)
        copied = 0 if _side_by_side(slots) else longest
        return (longest - sum(ends) + copied) * 2 * self.tensor[0, 0, :, 0].nbytes


class SingleRow:
    """Where one row's keys and values lie, and what it may see: views of its slot, made once for all layers."""

    def __init__(self, cache: SlotCache, slot: int, start: int, count: int) -> None:
        held, end = cache.tensor, start + count
        self.family, self.count = cache.family, count
        self.cos, self.sin = cache.rope.cos[start:end], cache.rope.sin[start:end]
        self.writes = held[:, slot, :, start:end].unbind(0)  # of [G, M, D]
        self.tiles: dict[int | None, list[tuple[tuple[Tensor, ...], Tensor | None]]] = {}
        """Of each tile what it reads, of [1, G, T, D], and its mask [1, 1, M, T], or with the group's queries as rows
        [1, 1, N / G * M, T]; None when all may be seen."""
        for window in cache.windows:
            self.tiles[window] = []
            for at in range(start, end, TILE):
                behind = min(at + TILE, end)
                first = 0 if window is None else max(0, at - window + 1)
                mask = None
                if count > 1:
                    query = _for_groups(cache.positions[at:behind].view(1, 1, -1, 1), cache.family.group)
                    mask = _visible(query, cache.positions[first:behind], window, held.dtype)
                self.tiles[window].append((held[:, slot : slot + 1, :, first:behind].unbind(0), mask))

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        self.writes[2 * index].copy_(keys.transpose(0, 1))
        self.writes[2 * index + 1].copy_(values.transpose(0, 1))
        tiles = self.tiles[self.family.windows[index]]
        found = [
            _attend(part.unsqueeze(0), reads[2 * index], reads[2 * index + 1], mask, self.family)
            for part, (reads, mask) in zip(torch.split(queries, TILE), tiles, strict=True)
        ]
        return found[0] if len(found) == 1 else torch.cat(found)


class SeparateRows:
    """Rows attend one by one, each to no more than it holds. Right where a call costs less than reading what padding
    would add: on CPUs, for rows of very different lengths."""

    def __init__(self, cache: SlotCache, slots: Sequence[int], starts: Sequence[int], count: int) -> None:
        self.count = count
        self.rows = [SingleRow(cache, slot, start, count) for slot, start in zip(slots, starts, strict=True)]
        self.cos = torch.cat([row.cos for row in self.rows])
        self.sin = torch.cat([row.sin for row in self.rows])

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = (torch.split(x, self.count) for x in (queries, keys, values))
        each = zip(self.rows, *parts, strict=True)
        return torch.cat([row.attend(index, q, k, v) for row, q, k, v in each])


class PaddedRows:
    """All rows attend in one call, to as many keys as the longest holds. For devices where launches cost more, and
    rows of about one length."""

    def __init__(self, cache: SlotCache, slots: Sequence[int], starts: Sequence[int], count: int) -> None:
        self.tensor, self.family, self.end = cache.tensor, cache.family, max(starts) + count
        self.run = slice(slots[0], slots[-1] + 1) if _side_by_side(slots) else None
        where = to_device([slots, starts], self.tensor.device)  # [2, B]
        self.slots = where[0].unsqueeze(1)
        self.positions = where[1].unsqueeze(1) + cache.positions[:count]  # [B, M]
        self.cos = cache.rope.cos[self.positions].flatten(0, 1)
        self.sin = cache.rope.sin[self.positions].flatten(0, 1)
        query = _for_groups(self.positions[:, None, :, None], self.family.group)
        keys = cache.positions[: self.end]
        self.masks = {w: _visible(query, keys, w, self.tensor.dtype) for w in cache.windows}

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        family, rows = self.family, (*self.positions.shape, self.family.kv_heads, self.family.head_dim)
        self.tensor[2 * index][self.slots, :, self.positions] = keys.view(rows)
        self.tensor[2 * index + 1][self.slots, :, self.positions] = values.view(rows)
        held = [self._held(self.tensor[2 * index]), self._held(self.tensor[2 * index + 1])]
        mask = self.masks[family.windows[index]]
        queries = queries.view(*self.positions.shape, family.heads, family.head_dim)
        return _attend(queries, held[0], held[1], mask, family)

    def _held(self, layer: Tensor) -> Tensor:
        """[B, G, T, D] of the rows' slots: a view where they lie side by side."""
        held = layer[:, :, : self.end]
        return held[self.run] if self.run is not None else held.index_select(0, self.slots.view(-1))


Rows = SingleRow | SeparateRows | PaddedRows


def _side_by_side(slots: Sequence[int]) -> bool:
    return list(slots) == list(range(slots[0], slots[-1] + 1))


def _visible(query: Tensor, keys: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where a key's position may be seen from the query's, else -inf."""
    hidden = keys > query
    if window is not None:
        hidden |= keys <= query - window
    return torch.where(hidden, float("-inf"), torch.zeros((), dtype=dtype, device=hidden.device))


def _for_groups(query: Tensor, group: int) -> Tensor:
    """Positions [B, 1, M, 1] -> [B, 1, N / G * M, 1] where a group's queries are rows of one product."""
    return query.repeat(1, 1, group, 1) if _as_rows(query.shape[2], group) else query


def _as_rows(count: int, group: int) -> bool:
    """Whether a group's queries become rows of one product; above, heads are products of their own."""
    return group > 1 and 1 < count <= DECODE_ROWS


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, family: ModelFamily) -> Tensor:
    """Queries [B, M, N, D] over keys and values [B, G, T, D] -> [R, N * D]."""
    batch, count = queries.shape[:2]
    group, size = family.group, family.head_dim
    if not _as_rows(count, group):
        found = F.scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, attn_mask=mask, enable_gqa=group > 1
        )
        return found.transpose(1, 2).reshape(batch * count, -1)
    rows = queries.view(batch, count, family.kv_heads, group, size).permute(0, 2, 3, 1, 4)
    rows = rows.reshape(batch, family.kv_heads, group * count, size)
    found = F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
    found = found.view(batch, family.kv_heads, group, count, size).permute(0, 3, 1, 2, 4)
    return found.reshape(batch * count, -1)
