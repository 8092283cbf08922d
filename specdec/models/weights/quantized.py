"""Weights in 4 and 8 bits.

How one is made of what a checkpoint holds (`specdec.kernels.packed` says what the codes of each kind stand for):

    quantized("int4", q, scales)                       q [N, K] from -8 to 7, scales [N, K / group]
    quantized("int4", q, scales, zeros=zeros)          zeros [N, K / group], whole numbers that are taken off q
    quantized("int4", q, scales, minimums=minimums)    [N, K / group]: what q = -8 stands for
    quantized("int8", ...)                             the same with q from -128 to 127
    quantized("fp8", q, scales)                        q [N, K] float8_e4m3fn
    quantized("mxfp4", q, scales)                      q [N, K] codes 0 to 15, scales [N, K / 32] uint8

Scales of shape [N, 1] are for whole columns. Groups are multiples of 16; `group=` says how long where the last is not
full. Scales and minimums are kept in the precision that they come in: 16 bits that are the model's own run fastest.
`stacked` puts weights below each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.kernels.packed import LOWEST, Kind, Packed, codes, pack, unpacked


class QuantizedWeight:
    """y = x W^T + b, W in few bits. The product itself takes W to the precision of x each time: kernels do better."""

    __slots__ = ("bias", "packed")

    def __init__(self, packed: Packed, bias: Tensor | None = None) -> None:
        self.packed, self.bias = packed, bias

    @property
    def format(self) -> str:
        """See `Weight.format`."""
        return self.packed.kind

    @property
    def tensor(self) -> Tensor:
        """See `Weight.tensor`."""
        return self.packed.tensor

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + (0 if self.bias is None else self.bias.nbytes)

    @property
    def columns(self) -> int:
        """See `Weight.columns`."""
        return self.packed.columns

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """[N, K]"""
        return unpacked(self.packed, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dequantized(x.dtype), self.bias)


def quantized(kind: Kind, q: Tensor, scales: Tensor, *, bias: Tensor | None = None, **more: Any) -> QuantizedWeight:
    """See the top of this module; `more` are the other arguments of `packed.pack`."""
    return QuantizedWeight(pack(kind, q, scales, **more), bias)


def stacked(weights: Sequence[QuantizedWeight], bias: Tensor | None = None) -> QuantizedWeight | None:
    """One weight of several, below each other; None where no format here holds all of them without loss.

    Groups become as short as the shortest, and codes as wide as the widest."""
    parts = [weight.packed for weight in weights]
    if not all(_same_order(part, parts[0]) for part in parts):
        return None
    if len({_layout(part) for part in parts}) > 1:
        if any(part.kind not in LOWEST for part in parts):
            return None
        parts = _alike(parts)
    together = replace(
        parts[0],
        tensor=torch.cat([part.tensor for part in parts], 1),
        scales=torch.cat([part.scales for part in parts], 1),
        zeros=_together([part.zeros for part in parts]),
        minimums=_together([part.minimums for part in parts]),
    )
    return QuantizedWeight(together, bias)


def _together(values: Sequence[Tensor | None]) -> Tensor | None:
    held = [value for value in values if value is not None]
    return torch.cat(held, 1) if held else None


def _same_order(a: Packed, b: Packed) -> bool:
    if a.order is None or b.order is None:
        return a.order is b.order
    return torch.equal(a.order, b.order)


def _layout(packed: Packed) -> tuple[object, ...]:
    lifted = None if packed.minimums is None else packed.minimums.dtype
    return packed.kind, packed.group, packed.scales.dtype, packed.zeros is None, lifted


def _alike(parts: Sequence[Packed]) -> list[Packed]:
    """The same integers in one format that holds them all."""
    kind: Kind = "int4" if all(part.kind == "int4" for part in parts) else "int8"
    group = reduce(gcd, [part.group for part in parts])
    lifted = any(part.minimums is not None for part in parts)
    shifted = not lifted and any(part.zeros is not None for part in parts)
    exact = torch.float32 if lifted or len({part.scales.dtype for part in parts}) > 1 else parts[0].scales.dtype

    def each(part: Packed, values: Tensor) -> Tensor:
        # [groups, N] -> [N, more groups]
        groups = values.t().repeat_interleave(part.group // group, 1)
        return groups[:, : -(-part.inner // group)]

    def one(part: Packed) -> Packed:
        q, scales = codes(part).to(torch.int16), part.scales.to(exact)
        more: dict[str, Tensor] = {}
        if shifted:
            zeros = part.zeros if part.zeros is not None else torch.zeros_like(scales, dtype=torch.int8)
            more["zeros"] = each(part, zeros)
        if lifted:
            lowest = LOWEST[part.kind]
            zeros = torch.zeros_like(scales) if part.zeros is None else part.zeros.to(exact)
            least = (lowest - zeros) * scales if part.minimums is None else part.minimums.to(exact)
            more["minimums"] = each(part, least)
            q = q - lowest + LOWEST[kind]
        return pack(kind, q, each(part, scales), order=part.order, group=group, **more)

    return [one(part) for part in parts]
