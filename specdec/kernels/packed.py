"""Weights in 4 and 8 bits, laid out as the kernels read them.

Numbers of K that follow each other share a scale: a group, or the whole column. What a code stands for, by kind:

    int4, int8    (q - zero) * scale, or (q - lowest) * scale + minimum; q is -8..7 or -128..127
    fp8           e4m3 * scale
    mxfp4         e2m1 * scale, a power of two

The codes of a few numbers of K of all N columns lie together, then those of the next: [units, N, chunk] of 16 bits. So
a tile of columns is one stretch of memory. Word j of a unit holds the codes of numbers j, j + chunk, ..., from its low
bits up: of two codes in 8 bits, or of four in 4. Each of these parts is a tile of its own, whose numbers share a scale,
and a register holds the same code of two numbers that follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["int4", "int8", "fp8", "mxfp4"]
Shift = Literal["zeros", "minimums"]
LOWEST = {"int4": -8, "int8": -128}
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the low three bits of an mxfp4 code stand for; the fourth is the sign."""
CHUNK = 64
"""Numbers of K that a product takes at once, at most."""
_LEAST = 16
"""At least: what a tensor core takes."""
_LARGEST = {"fp8": 128.0, "mxfp4": 4.0}
"""What scales are less than: the kernels multiply them with what a code's float is too small by."""


@dataclass(frozen=True, slots=True)
class Packed:
    """W [N, K] in few bits. Made by `pack`."""

    kind: Kind
    tensor: Tensor
    """[units, N, chunk] int16"""
    words: Tensor
    """[groups, N]: scales in fp32, or int32 of a scale in 16 bits (low) and its zero or minimum (high)."""
    more: Tensor | None
    """[groups, N] fp32, zeros or minimums of scales in fp32"""
    shift: Shift | None
    precision: torch.dtype
    """Of the scales"""
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
    def unit(self) -> int:
        """Numbers of K that lie together."""
        return self.chunk * parts(self.kind)

    @property
    def whole(self) -> bool:
        """Whether all of a column share a scale."""
        return self.words.shape[0] == 1

    @property
    def nbytes(self) -> int:
        held = (self.tensor, self.words, self.more, self.order)
        return sum(t.nbytes for t in held if t is not None)


def parts(kind: Kind) -> int:
    """Codes in a word."""
    return 4 if kind in ("int4", "mxfp4") else 2


def chunk_of(group: int, *, whole: bool = False) -> int:
    """Numbers of K in a tile for groups of so many; 0 where none fits."""
    return CHUNK if whole else next((c for c in (CHUNK, CHUNK // 2, _LEAST) if group % c == 0), 0)


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

    q: int4 and int8 as signed whole numbers, fp8 as float8_e4m3fn, mxfp4 as its codes 0..15 (and its scales as uint8,
    e8m0). `group` is told where the last group is not full; else it is K / groups. With `order` q's columns are in
    that order."""
    inner, groups = q.shape[1], scales.shape[1]
    group = group or inner // groups
    if groups * group < inner or (groups - 1) * group >= inner:
        raise ValueError(f"{groups} groups of {group} for {inner} numbers")
    chunk = chunk_of(group, whole=groups == 1)
    if not chunk:
        raise ValueError(f"groups of {group}; expected a multiple of {_LEAST}")
    if scales.dtype == torch.uint8:
        scales = torch.exp2(scales.float() - 127).bfloat16()
    if (limit := _LARGEST.get(kind)) and (largest := scales.abs().max().item()) >= limit:
        raise ValueError(f"{kind} scales of up to {largest:g}; expected less than {limit:g}")
    shifts = zeros if minimums is None else minimums
    if minimums is not None and minimums.dtype != scales.dtype:
        scales = scales.float()
    words, more = _words(scales.t(), None if shifts is None else shifts.t())
    return Packed(
        kind,
        _stored(kind, q, chunk),
        words,
        more,
        None if shifts is None else "zeros" if minimums is None else "minimums",
        scales.dtype,
        None if order is None else order.to(torch.int32),
        inner,
        group,
    )


def _stored(kind: Kind, q: Tensor, chunk: int) -> Tensor:
    """Field `tensor`."""
    held = (q + 8).to(torch.uint8) if kind == "int4" else q.to(torch.int8) if kind == "int8" else q
    held, count = held.view(torch.uint8), parts(kind)
    if missing := -q.shape[1] % (chunk * count):
        held = F.pad(held, (0, missing), value=8 if kind == "int4" else 0)
    held = held.view(len(q), -1, count, chunk).transpose(0, 1)
    if count == 4:
        held = held[:, :, ::2] | held[:, :, 1::2] << 4
    return held.transpose(2, 3).contiguous().view(torch.int16).squeeze(-1)


def _words(scales: Tensor, shifts: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Fields `words` and `more`. A word has 32 bits, so that a kernel can fetch it ahead."""
    if scales.dtype == torch.float32:
        return scales.contiguous(), None if shifts is None else shifts.float().contiguous()
    shifts = torch.zeros_like(scales) if shifts is None else shifts.to(scales.dtype)
    return torch.stack((scales, shifts), -1).view(torch.int32).squeeze(-1), None


def scales_of(packed: Packed) -> Tensor:
    """[groups, N], in the precision that they came in"""
    return packed.words if packed.precision == torch.float32 else _sixteen(packed)[..., 0]


def shifts_of(packed: Packed) -> Tensor | None:
    """Zeros or minimums [groups, N], whichever there are"""
    if packed.precision == torch.float32:
        return packed.more
    return None if packed.shift is None else _sixteen(packed)[..., 1]


def _sixteen(packed: Packed) -> Tensor:
    return packed.words.unsqueeze(-1).view(packed.precision)


def codes(packed: Packed) -> Tensor:
    """q [N, K], as `pack` takes it."""
    held = packed.tensor.unsqueeze(-1).view(torch.uint8)  # [units, N, chunk, 2]
    if parts(packed.kind) == 4:
        held = torch.stack((held & 15, held >> 4), -1).flatten(-2)
    held = held.permute(1, 0, 3, 2).reshape(packed.columns, -1)[:, : packed.inner].contiguous()
    if packed.kind == "int4":
        return held.to(torch.int8) - 8
    if packed.kind == "int8":
        return held.view(torch.int8)
    return held.view(torch.float8_e4m3fn) if packed.kind == "fp8" else held


def numbers(packed: Packed) -> Tensor:
    """[N, K] fp32, before any scale"""
    held = codes(packed)
    if packed.kind != "mxfp4":
        return held.float()
    table = torch.tensor(_E2M1 + tuple(-value for value in _E2M1), device=held.device)
    return table[held.long()]


def unpacked(packed: Packed, dtype: torch.dtype) -> Tensor:
    """W [N, K], each number rounded once; the columns in K's own order."""
    values, scales, shifts = numbers(packed), _wide(packed, scales_of(packed)), shifts_of(packed)
    if shifts is None:
        values *= scales
    elif packed.shift == "zeros":
        values = (values - _wide(packed, shifts)) * scales
    else:
        values = (values - LOWEST[packed.kind]) * scales + _wide(packed, shifts)
    found = values.to(dtype)
    if packed.order is None:
        return found
    return torch.empty_like(found).index_copy_(1, packed.order.long(), found)


def _wide(packed: Packed, values: Tensor) -> Tensor:
    """Values [groups, N] for each number: [N, K] fp32, or [N, 1]."""
    wide = values.t().float()
    return wide if packed.whole else wide.repeat_interleave(packed.group, 1)[:, : packed.inner]
