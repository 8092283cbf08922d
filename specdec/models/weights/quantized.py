"""Weights in 4 and 8 bits.

How one is made of what a checkpoint holds (`specdec.kernels.packed` says what the codes of each kind stand for):

    quantized("int4", q, scales)                       q [N, K] from -8 to 7, scales [N, K / group]
    quantized("int4", q, scales, zeros=zeros)          zeros [N, K / group], whole numbers that are taken off q
    quantized("int4", q, scales, minimums=minimums)    [N, K / group]: what q = -8 stands for
    quantized("int8", ...)                             the same with q from -128 to 127
    quantized("fp8", q, scales)                        q [N, K] float8_e4m3fn
    quantized("mxfp4", q, scales)                      q [N, K] codes 0 to 15, scales [N, K / 32] uint8

Scales of shape [N, 1] are for whole columns. Groups are multiples of 16; `group=` says how long where the last is not
full. Scales are kept in the precision that they come in, and minimums with them: 16 bits that are the model's own run
fastest, and take half the room of 32.
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

from specdec.kernels.packed import LOWEST, Kind, Packed, codes, pack, scales_of, shifts_of, unpacked


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

    def __str__(self) -> str:
        shared = "a scale a column" if self.packed.whole else f"groups of {self.packed.group}"
        return f"{self.packed.kind} ({shared})"

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """[N, K]"""
        return unpacked(self.packed, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dequantized(x.dtype), self.bias)


def quantized(kind: Kind, q: Tensor, scales: Tensor, *, bias: Tensor | None = None, **more: Any) -> QuantizedWeight:
    """See the top of this module; `more` are the other arguments of `packed.pack`."""
    if q.dtype != torch.float8_e4m3fn if kind == "fp8" else q.is_floating_point():
        raise ValueError(f"numbers in {q.dtype}; expected {'float8_e4m3fn' if kind == 'fp8' else 'whole ones'}")
    return QuantizedWeight(pack(kind, q, scales, **more), bias)


def stacked(weights: Sequence[QuantizedWeight], bias: Tensor | None = None) -> QuantizedWeight | None:
    """One weight of several, below each other; None where no format here holds all of them without loss.

    Groups become as short as the shortest, and codes as wide as the widest."""
    parts = [weight.packed for weight in weights]
    orders = [part.order for part in parts if part.order is not None]
    if orders and not (len(orders) == len(parts) and all(torch.equal(order, orders[0]) for order in orders)):
        return None
    if len({(part.kind, part.group, part.precision, part.shift) for part in parts}) > 1:
        if any(part.kind not in LOWEST for part in parts):
            return None
        parts = _alike(parts)
    together = replace(
        parts[0],
        tensor=torch.cat([part.tensor for part in parts], 1),
        words=torch.cat([part.words for part in parts], 1),
        more=None if parts[0].more is None else torch.cat([part.more for part in parts if part.more is not None], 1),
    )
    return QuantizedWeight(together, bias)


def _alike(parts: Sequence[Packed]) -> list[Packed]:
    """The same integers in one format that holds them all."""
    kind: Kind = "int4" if all(part.kind == "int4" for part in parts) else "int8"
    group = reduce(gcd, [part.group for part in parts])
    lifted = any(part.shift == "minimums" for part in parts)
    shifted = any(part.shift == "zeros" for part in parts)
    exact = torch.float32 if lifted or len({part.precision for part in parts}) > 1 else parts[0].precision

    def each(part: Packed, values: Tensor) -> Tensor:
        # [groups, N] -> [N, more groups]
        groups = values.t().repeat_interleave(part.group // group, 1)
        return groups[:, : -(-part.inner // group)]

    def one(part: Packed) -> Packed:
        q, scales, shifts = codes(part).to(torch.int16), scales_of(part).to(exact), shifts_of(part)
        shifts = torch.zeros_like(scales) if shifts is None else shifts.to(exact)
        more: dict[str, Tensor] = {}
        if lifted:
            lowest = LOWEST[part.kind]
            least = shifts if part.shift == "minimums" else (lowest - shifts) * scales
            more, q = {"minimums": each(part, least)}, q - lowest + LOWEST[kind]
        elif shifted:
            more = {"zeros": each(part, shifts)}
        return pack(kind, q, each(part, scales), order=part.order, group=group, **more)

    return [one(part) for part in parts]
