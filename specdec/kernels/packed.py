"""Weights in 4 and 8 bits, laid out as the kernels read them.

Numbers of K that follow each other share a scale: a group, or the whole column. What a code stands for, by kind:

    int4, int8    (q - zero) * scale, or (q - lowest) * scale + minimum; q is -8..7 or -128..127
    fp8           e4m3 * scale
    mxfp4         e2m1 * 2^(scale - 127), scales of one byte (e8m0), groups of 32

The codes of a few numbers of K of all N columns lie together, then those of the next: [units, N, chunk] bytes. So a
tile of columns is one stretch of memory. In 4 bits byte j of a unit holds number j low and number j + chunk high: each
half is a tile of its own, and all of a half share a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["int4", "int8", "fp8", "mxfp4"]
LOWEST = {"int4": -8, "int8": -128}
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the low three bits of an mxfp4 code stand for; the fourth is the sign."""
_CHUNK = 64
"""Numbers of K that a product takes at once, at most."""
_LEAST = 16
"""At least: what a tensor core takes."""


@dataclass(frozen=True, slots=True)
class Packed:
    """W [N, K] in few bits. Made by `pack`."""

    kind: Kind
    tensor: Tensor
    """[units, N, chunk] uint8"""
    scales: Tensor
    """[groups, N], in 16 or 32 bits; of mxfp4 uint8"""
    zeros: Tensor | None
    """[groups, N] int8"""
    minimums: Tensor | None
    """[groups, N]"""
    order: Tensor | None
    """[K] int32: which number of x the codes' k-th is for; None where it is the k-th"""
    inner: int
    """K"""
    group: int
    """Numbers of K that share a scale"""

    @property
    def columns(self) -> int:
        """N"""
        return self.tensor.shape[1]

    @property
    def chunk(self) -> int:
        """Numbers of K in a tile."""
        return self.tensor.shape[2]

    @property
    def halves(self) -> int:
        """Tiles in a unit: two where a byte holds two codes."""
        return 2 if self.kind in ("int4", "mxfp4") else 1

    @property
    def whole(self) -> bool:
        """Whether all of a column share a scale."""
        return self.scales.shape[0] == 1

    @property
    def nbytes(self) -> int:
        held = (self.tensor, self.scales, self.zeros, self.minimums, self.order)
        return sum(t.nbytes for t in held if t is not None)


def pack(
    kind: Kind,
    q: Tensor,
    scales: Tensor,
    *,
    zeros: Tensor | None = None,
    minimums: Tensor | None = None,
    order: Tensor | None = None,
    group: int | None = None,
) -> Packed:
    """Codes q [N, K] with scales, zeros or minimums [N, groups], in the kernels' layout.

    q: int4 and int8 as signed whole numbers, fp8 as float8_e4m3fn, mxfp4 as its codes 0..15. `group` is told where the
    last group is not full; else it is K / groups. With `order` q's columns are in that order."""
    inner, groups = q.shape[1], scales.shape[1]
    group = group or inner // groups
    if groups * group < inner or (groups - 1) * group >= inner:
        raise ValueError(f"{groups} groups of {group} for {inner} numbers")
    chunk = _CHUNK if groups == 1 else next((c for c in (64, 32, _LEAST) if group % c == 0), 0)
    if not chunk:
        raise ValueError(f"groups of {group}; expected a multiple of {_LEAST}")
    held = (q + 8).to(torch.uint8) if kind == "int4" else q.to(torch.int8) if kind == "int8" else q
    held = held.view(torch.uint8)
    halves = 2 if kind in ("int4", "mxfp4") else 1
    if missing := -inner % (chunk * halves):
        held = F.pad(held, (0, missing), value=8 if kind == "int4" else 0)
    held = held.view(len(q), -1, halves, chunk)
    bytes_ = held[:, :, 0] | held[:, :, 1] << 4 if halves == 2 else held[:, :, 0]
    return Packed(
        kind,
        bytes_.transpose(0, 1).contiguous(),
        _by_group(scales),
        None if zeros is None else _by_group(zeros.to(torch.int8)),
        None if minimums is None else _by_group(minimums),
        None if order is None else order.to(torch.int32),
        inner,
        group,
    )


def _by_group(values: Tensor) -> Tensor:
    return values.t().contiguous()


def codes(packed: Packed) -> Tensor:
    """q [N, K], as `pack` takes it."""
    held = packed.tensor.transpose(0, 1)  # [N, units, chunk]
    if packed.halves == 2:
        held = torch.stack((held & 15, held >> 4), 2)
    held = held.reshape(packed.columns, -1)[:, : packed.inner].contiguous()
    if packed.kind == "int4":
        return held.to(torch.int8) - 8
    if packed.kind == "int8":
        return held.view(torch.int8)
    return held.view(torch.float8_e4m3fn) if packed.kind == "fp8" else held


def unpacked(packed: Packed, dtype: torch.dtype) -> Tensor:
    """W [N, K], each number rounded once; the columns in K's own order."""
    values = _numbers(packed)
    scales = _wide(packed, _scales(packed))
    if packed.minimums is not None:
        values = (values - LOWEST[packed.kind]) * scales + _wide(packed, packed.minimums)
    else:
        values = (values if packed.zeros is None else values - _wide(packed, packed.zeros)) * scales
    found = values.to(dtype)
    if packed.order is None:
        return found
    return torch.empty_like(found).index_copy_(1, packed.order.long(), found)


def _numbers(packed: Packed) -> Tensor:
    held = codes(packed)
    if packed.kind != "mxfp4":
        return held.float()
    table = torch.tensor(E2M1 + tuple(-value for value in E2M1), device=held.device)
    return table[held.long()]


def _scales(packed: Packed) -> Tensor:
    return torch.exp2(packed.scales.float() - 127) if packed.kind == "mxfp4" else packed.scales


def _wide(packed: Packed, values: Tensor) -> Tensor:
    """Values [groups, N] for each number: [N, K] fp32, or [N, 1]."""
    wide = values.t().float()
    return wide if packed.whole else wide.repeat_interleave(packed.group, 1)[:, : packed.inner]
