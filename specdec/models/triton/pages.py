"""The pages of one model on its GPU (see `models.pages.PageMemory`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specdec.kernels.pages import PAGE, PagedKeys
from specdec.models.families.base import ModelFamily
from specdec.transfer import to_device


def pages_of(positions: int, page: int = PAGE) -> int:
    """How many pages hold so many positions."""
    return -(-positions // page)


def page_bytes(family: ModelFamily, dtype: torch.dtype, page: int = PAGE) -> int:
    """Of one page, over all layers."""
    return 2 * family.layers * family.kv_heads * page * family.head_dim * dtype.itemsize


class DevicePages:
    """Room for `count` pages, and a table [slots + 1, pages of `capacity`]: the last slot is spare, and all of it is
    junk."""

    def __init__(
        self,
        family: ModelFamily,
        slots: int,
        capacity: int,
        count: int,
        dtype: torch.dtype,
        device: torch.device,
        page: int = PAGE,
    ) -> None:
        self.page, self.count = page, count
        # of fp8 two lie in a word (see `kernels.pages.PagedKeys`)
        last, kind = (family.head_dim // 2, torch.int16) if dtype == torch.float8_e4m3fn else (family.head_dim, dtype)
        size = (2 * family.layers, count, family.kv_heads, page, last)
        self.pool = torch.zeros(size, dtype=kind, device=device)
        """Layer i's keys at 2i, its values at 2i + 1."""
        self.table = torch.zeros(slots + 1, pages_of(capacity, page), dtype=torch.int32, device=device)
        self.page_bytes = page_bytes(family, dtype, page)

    def layer(self, index: int) -> PagedKeys:
        return PagedKeys(self.pool[2 * index], self.pool[2 * index + 1], self.table)

    def point(self, slot: int, first: int, pages: Sequence[int]) -> None:
        """See `PageMemory.point`. Passes under way read what was there when they were launched."""
        if pages:
            where = self.table[slot, first : first + len(pages)]
            where.copy_(to_device([pages], where.device, torch.int32)[0])

    def copy(self, source: int, target: int) -> None:
        """See `PageMemory.copy`."""
        self.pool[:, target] = self.pool[:, source]
