"""Products with weights in 4 and 8 bits on a CPU, by torch's own: for a few rows the codes are read once, and what they
stand for is never written down. x is rounded to bf16 for it. For many rows the numbers are made anew each time.

A row's bits are the same among any few rows. Among many they depend on how many there are, and on nothing else: so they
are multiplied in blocks of two sizes, and the last one is filled up.

Whether that is faster than a product in fp32 depends on the processor and the shape, so it is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.errors import NotEnoughMemory
from specdec.kernels.packed import Packed, codes, scales_of
from specdec.models.weights.base import Weight
from specdec.models.weights.dense import dense
from specdec.models.weights.quantized import QuantizedWeight

_GROUPS = (32, 64, 128, 256)
"""Numbers with a scale of their own that torch's product takes in 4 bits."""
_BLOCK = 64
"""Columns that torch lays out together."""
FEW = 64
"""Rows beyond which it costs less to make the numbers."""
TOGETHER = 4 * FEW
"""Rows of a block (see `ModelInfo.together`)."""
_LEAST = 1 << 20
"""Numbers: fewer lie in the processor's cache, in whichever form."""
_TRIED = {1: 0.8, 5: 0.8, 512: 1.1}
"""Rows of a pass, of a round and of a prompt, and the share of the time in fp32 that they may take. Clear, so that each
process comes to the same choice."""
_TRIED_COLUMNS = 2048
_ROUNDS = 3


class FewBitsWeight:
    """y = x W^T + b on a CPU, W in few bits."""

    __slots__ = ("_packed", "_scales", "bias", "columns", "format", "group", "tensor")

    def __init__(self, packed: Packed, bias: Tensor | None = None) -> None:
        self.format, self.columns, self.bias = packed.kind, packed.columns, bias
        self.group = 0 if packed.kind == "int8" else packed.group
        q, scales = codes(packed), scales_of(packed).t().contiguous()
        self._scales = scales
        if packed.kind == "int8":
            self.tensor = self._packed = q
        else:
            q += 8
            self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.int(), 1)  # noqa: SLF001
            low, high = q.to(torch.uint8).chunk(2, 1)
            self.tensor = low | high << 4
            self._scales = torch.stack((scales.t(), torch.zeros_like(scales.t())), -1)

    @property
    def nbytes(self) -> int:
        held = {id(t): t.nbytes for t in (self._packed, self.tensor, self._scales, self.bias) if t is not None}
        return sum(held.values())

    def __str__(self) -> str:
        shared = f"groups of {self.group}" if self.group else "a scale a column"
        return f"{self.format} ({shared}), multiplied in bf16"

    def __call__(self, x: Tensor) -> Tensor:
        rounded = x.to(torch.bfloat16)
        if len(x) > FEW:
            found = self._many(rounded)
        elif self.format == "int8":
            found = torch._weight_int8pack_mm(rounded, self._packed, self._scales.flatten())  # noqa: SLF001
        else:
            run = torch.ops.aten._weight_int4pack_mm_for_cpu  # noqa: SLF001
            found = run(rounded, self._packed, self.group, self._scales)
        found = found.to(x.dtype)
        return found if self.bias is None else found.add_(self.bias)

    def _many(self, x: Tensor) -> Tensor:
        numbers, found = self._numbers(), x.new_empty(len(x), self.columns)
        for rows, out in zip(torch.split(x, TOGETHER), torch.split(found, TOGETHER), strict=True):
            filled = F.pad(rows, (0, 0, 0, -len(rows) % (TOGETHER if len(rows) > TOGETHER // 2 else TOGETHER // 2)))
            product = F.linear(filled, numbers)[: len(rows)]
            out.copy_(product * self._scales.flatten() if self.format == "int8" else product)
        return found

    def _numbers(self) -> Tensor:
        """[N, K], of int8 without their scales."""
        if self.format == "int8":
            return self.tensor.bfloat16()
        half = self.tensor.shape[1]
        numbers = self._scales.new_empty(self.columns, 2 * half)
        numbers[:, :half], numbers[:, half:] = self.tensor & 15, self.tensor >> 4
        scales = self._scales[..., 0].t()[..., None]
        return numbers.view(*scales.shape[:2], -1).sub_(8).mul_(scales).view_as(numbers)


def on_cpu(weight: QuantizedWeight, dtype: torch.dtype, no_room: NotEnoughMemory | None = None) -> Weight:
    """`weight` in the form whose products are the fastest here: in few bits, or in `dtype`, unless there is no room for
    that."""
    packed = weight.packed
    if _fits(packed) and (no_room or _faster(packed, dtype)):
        return FewBitsWeight(packed, weight.bias)
    if no_room and packed.columns * packed.inner >= _LEAST:
        raise no_room
    return dense(weight.dequantized(dtype), weight.bias)


def _fits(packed: Packed) -> bool:
    """Whether torch has the product, with the very numbers that the codes stand for, and there are enough of them."""
    plain = packed.shift is None and packed.order is None and packed.precision == torch.bfloat16
    plain = plain and packed.columns * packed.inner >= _LEAST
    if packed.kind == "int8":
        return plain and packed.whole
    whole = packed.inner % packed.group == 0 and packed.inner % (2 * _GROUPS[0]) == 0
    return plain and packed.kind == "int4" and packed.group in _GROUPS and whole and packed.columns % _BLOCK == 0


_known: dict[tuple[object, ...], bool] = {}


def _faster(packed: Packed, dtype: torch.dtype) -> bool:
    key = (packed.kind, packed.columns, packed.inner, packed.group, dtype, torch.get_num_threads())
    if key not in _known:
        some = replace(packed, tensor=packed.tensor[:, :_TRIED_COLUMNS], words=packed.words[:, :_TRIED_COLUMNS])
        few, plain = FewBitsWeight(some), dense(QuantizedWeight(some).dequantized(dtype))
        tried = ((torch.ones(rows, packed.inner, dtype=dtype), share) for rows, share in _TRIED.items())
        _known[key] = all(_seconds(few, x) <= share * _seconds(plain, x) for x, share in tried)
    return _known[key]


def _seconds(product: Callable[[Tensor], Tensor], x: Tensor) -> float:
    product(x)
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = perf_counter()
        product(x)
        best = min(best, perf_counter() - begun)
    return best
