"""How a product is cut into programs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

ROWS = 16
"""Rows of x in one program, at least: what a tensor core takes."""
MOST_ROWS = 128
"""Rows of x in one program, at most. How many there are changes no bit of any of them."""
_SHARED = 200 * 1024
"""Bytes of a multiprocessor's shared memory that a program may fill."""
_BUSY, _BUSY_GATED = 90, 180
"""Programs that keep a GPU's memory busy."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One program's share of a product [R, K] x [N, K]^T."""

    columns: int
    """Of N."""
    inner: int
    """Of K, at a time."""
    split: int = 1
    """Programs that share K."""
    warps: int = 4
    stages: int = 4
    ahead: int = 0
    """Lines of each row of W that are fetched before the kernel before has ended; a power of two."""

    def stages_for(self, rows: int, gated: bool, size: int) -> int:
        """As many stages as there is room for, up to `stages`; `size` is that of an element in bytes."""
        each = self.inner * size * (self.columns * (1 + gated) + rows)
        return max(1, min(self.stages, _SHARED // each))

    def warps_for(self, rows: int) -> int:
        """More where there are many rows, whose sums lie in registers."""
        return 8 if rows > 64 else self.warps


class Tiles:
    """The tile of each product on one GPU: tuned ones where they are known, else by rule."""

    def of(self, columns: int, inner: int, *, gated: bool, dtype: torch.dtype) -> Tile:
        """For a product with W [columns, inner] (gated: twice that)."""
        return by_rule(columns, inner, gated=gated, dtype=dtype)


def by_rule(columns: int, inner: int, *, gated: bool, dtype: torch.dtype) -> Tile:
    """Programs enough to keep the memory busy, each with long stretches of W under way. Found on an H200."""
    if dtype == torch.float32:
        return Tile(32, 32)
    wide = columns >= 65536
    width, split = (128 if wide else 64), 1
    while _over(columns, width) * split < (_BUSY_GATED if gated else _BUSY) and inner % (2 * split * 64) == 0:
        split *= 2
    longest = 64 if gated else 128 if wide else 256
    step = next((s for s in (256, 128, 64) if s <= longest and inner % (split * s) == 0), 64)
    far = gated or inner >= 8192
    return Tile(width, step, split, warps=8 if wide else 4, stages=5 if gated else 4, ahead=8 if far else 0)


def _over(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)
