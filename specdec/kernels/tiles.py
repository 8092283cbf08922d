"""How a product is cut into programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from specdec.kernels.packed import Kind, Packed, chunk_of, parts

ROWS = 16
"""Rows of x in one program, at least: what a tensor core takes."""
MOST_ROWS = 128
"""Rows of x in one program, at most. How many there are changes no bit of any of them."""
_SHARED = 200 * 1024
"""Bytes of a multiprocessor's shared memory that a program may fill."""
_BUSY, _BUSY_GATED, _BUSY_PACKED = 90, 180, 300
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
    """Lines of each row of W that are fetched before the kernel before has ended; a power of two. Not of a
    packed W: it made a layer slower."""

    def stages_for(self, rows: int, gated: bool, size: int, bits: int | None = None) -> int:
        """As many stages as there is room for, up to `stages`; an element of x has `size` bytes, one of W `bits`."""
        each = self.inner * (self.columns * (1 + gated) * (bits or 8 * size) // 8 + rows * size)
        return max(1, min(self.stages, _SHARED // each))

    def warps_for(self, rows: int) -> int:
        """More where there are many rows, whose sums lie in registers."""
        return 8 if rows > 64 else self.warps


@dataclass(frozen=True, slots=True)
class Product:
    """A product of a model's pass: W [columns, inner], twice that if it is gated."""

    columns: int
    inner: int
    gated: bool
    dtype: torch.dtype
    kind: Kind | None = None
    """Of a packed W"""
    group: int = 0
    """Of its scales; 0 for whole columns"""

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        if self.kind:
            kind += f" by {self.kind} in {f'groups of {self.group}' if self.group else 'columns'}"
        return f"{self.columns}x{self.inner} {kind}{' gated' if self.gated else ''}"

    @property
    def unit(self) -> int:
        """What `Tile.inner` is a multiple of."""
        return 1 if self.kind is None else chunk_of(self.group, whole=not self.group) * parts(self.kind)


def product_of(weight: Tensor | Packed, inner: int, dtype: torch.dtype, *, gated: bool) -> Product:
    """The product x W^T, x [rows, inner] in dtype."""
    if isinstance(weight, Tensor):
        return Product(len(weight) // (1 + gated), inner, gated, dtype)
    group = 0 if weight.whole else weight.group
    return Product(weight.columns // (1 + gated), inner, gated, dtype, weight.kind, group)


class Tiles:
    """The tile of each product on one GPU: those that were tuned (`specdec tune`) from disk, the others by rule."""

    def __init__(self, gpu: str, file: Path | None = None) -> None:
        self._gpu, self._file = gpu, file or cache_file()
        self._tuned = self._read().get(gpu, {})

    def of(self, product: Product) -> Tile:
        kept = self._tuned.get(str(product))
        return by_rule(product) if kept is None else Tile(**kept)

    def keep(self, product: Product, tile: Tile) -> None:
        """Write a tuned tile to disk, for this GPU."""
        every = self._read()
        self._tuned = every.setdefault(self._gpu, {})
        self._tuned[str(product)] = asdict(tile)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(every, indent=1), encoding="utf-8")
        part.replace(self._file)

    def _read(self) -> dict[str, dict[str, dict[str, int]]]:
        try:
            return dict(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # nothing was tuned, or the file is damaged: the rule holds
            return {}


def cache_file() -> Path:
    """Where tuned tiles are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "specdec" / "tiles.json"


def by_rule(product: Product) -> Tile:
    """Programs enough to keep the memory busy, each with long stretches of W under way. Found on an H200."""
    columns, inner, gated, dtype = product.columns, product.inner, product.gated, product.dtype
    if product.kind is not None:
        return _packed_rule(product)
    if dtype == torch.float32:
        return Tile(32, 32)
    wide = columns >= 65536
    width, split = (128 if wide else 64), 1
    while -(-columns // width) * split < (_BUSY_GATED if gated else _BUSY) and inner % (2 * split * 64) == 0:
        split *= 2
    longest = 64 if gated else 128 if wide else 256
    step = next((s for s in (256, 128, 64) if s <= longest and inner % (split * s) == 0), 64)
    far = gated or inner >= 8192
    return Tile(width, step, split, warps=8 if wide else 4, stages=5 if gated else 4, ahead=8 if far else 0)


def _packed_rule(product: Product) -> Tile:
    """The same where W is in few bits."""
    if product.dtype == torch.float32:
        return Tile(32, product.unit)
    split, programs = 1, -(-product.columns // 64)
    busy = _BUSY_GATED if product.gated else _BUSY_PACKED
    while programs * split < busy and product.inner % (2 * split * product.unit) == 0:
        split *= 2
    few = product.kind in ("int4", "mxfp4")
    stages = 4 if few and not product.gated else 3
    return Tile(64, product.unit, split, warps=4 if product.gated else 2, stages=stages)
