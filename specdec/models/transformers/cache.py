"""A static slot cache that stands in for transformers' own: it hands attention the views that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of a captured pass go: slots [B] and positions [B, M], on the device."""

    slots: Tensor
    positions: Tensor


class StaticSlots(Cache):  # type: ignore[misc]
    """Keys and values of all slots. `rows` says which slots the pass is for, and where each starts; in a graph, which
    cannot be told by numbers, `places` does."""

    def __init__(self, slots: int, capacity: int) -> None:
        super().__init__(layer_class_to_replicate=partial(SlotLayer, self))
        self.slots, self.capacity = slots, capacity
        self.rows: list[tuple[int, int]] = []
        self.places: Places | None = None

    @property
    def start(self) -> int:
        return 0 if self.places else max(start for _, start in self.rows)

    @property
    def nbytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers if layer.is_initialized)

    def held(self, buffer: Tensor, new: Tensor) -> Tensor:
        """Write `new` [B, heads, M, D] into the buffer of a layer, and give back what the rows hold."""
        if (places := self.places) is not None:
            buffer[places.slots.unsqueeze(1), :, places.positions] = new.transpose(1, 2)
            return buffer.index_select(0, places.slots)
        end = self.start + new.shape[2]
        for row, (slot, start) in enumerate(self.rows):
            buffer[slot, :, start : start + new.shape[2]] = new[row]
        if len(self.rows) == 1:
            slot = self.rows[0][0]
            return buffer[slot : slot + 1, :, :end]
        return torch.stack([buffer[slot, :, :end] for slot, _ in self.rows])

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `prefixes.KeysValues`."""
        buffers = (buffer for layer in self.layers for buffer in (layer.keys, layer.values))
        return tuple(buffer[slot, :, start:end] for buffer in buffers)


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of it. Windowed layers keep everything too: masks do the windowing, and rollback stays free."""

    is_sliding = False

    def __init__(self, owner: StaticSlots) -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            x.new_zeros((self.owner.slots, x.shape[1], self.owner.capacity, x.shape[3]))
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write [B, heads, M, D] for the rows of this pass; give back all that they hold, [B, heads, T, D]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self.owner.held(self.keys, key_states), self.owner.held(self.values, value_states)

    def get_seq_length(self) -> int:
        return self.owner.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.owner.capacity if self.owner.places else self.owner.start + query_length, 0

    def get_max_length(self) -> int:
        return self.owner.capacity
