"""Weights in 16 bits rounded to fewer, each to the nearest: what `quantize` does while a checkpoint is read."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from specdec.kernels.packed import LOWEST
from specdec.models.weights.quantized import QuantizedWeight, quantized
from specdec.types.load import Quantize

GROUPS = (128, 64, 32)
"""Numbers of K with a scale of their own in 4 bits, the first that fits. In 8 bits there is one for each column."""
_MOST = {"int4": 7.5, "int8": 127.5, "fp8": 448.0}
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""In 4 bits the largest numbers of a group may be cut so much, where all others gain more by it."""
_TOGETHER = 1 << 24
"""Numbers rounded at once: each takes some 30 bytes meanwhile, which a head of a billion has no room for."""


def group_of(inners: Iterable[int]) -> int:
    """The length of groups for weights of these K; 0 for whole columns, where no group fits all."""
    each = set(inners)
    return next((group for group in GROUPS if all(inner % group == 0 for inner in each)), 0)


def of_head(to: Quantize | None) -> Quantize:
    """What a head is rounded to where the layers are rounded to this: 8 bits in any case."""
    return "fp8" if to == "fp8" else "int8"


def rounded(weight: Tensor, to: Quantize, group: int) -> QuantizedWeight:
    """W [N, K] with scales in its own 16 bits (bf16 for other precisions). In 8 bits `group` does not matter."""
    group = group if to == "int4" and group else weight.shape[1]
    parts = [_rounded(part, to, group) for part in torch.split(weight, max(_TOGETHER // weight.shape[1], 1))]
    q, scales = (torch.cat(each) for each in zip(*parts, strict=True))
    return quantized(to, q, scales)


def _rounded(weight: Tensor, to: Quantize, group: int) -> tuple[Tensor, Tensor]:
    """Codes and scales."""
    wide = weight.float().view(len(weight), -1, group)
    stored = weight.dtype if weight.dtype == torch.float16 else torch.bfloat16
    most = wide.abs().amax(-1, keepdim=True) / _MOST[to]
    best, scales, q = torch.full_like(most, torch.inf), most.to(stored), torch.empty_like(wide)
    for share in _SHARES if to == "int4" else (1.0,):
        tried = (most * share).to(stored)
        tried = torch.where(tried == 0, 1, tried)
        codes = wide / tried.float()
        if to == "fp8":
            codes = codes.clamp(-_MOST[to], _MOST[to]).to(torch.float8_e4m3fn).float()
        else:
            codes = codes.round().clamp(LOWEST[to], -LOWEST[to] - 1)
        error = (codes * tried.float() - wide).square().sum(-1, keepdim=True)
        better = error < best
        best, scales, q = (torch.where(better, a, b) for a, b in ((error, best), (tried, scales), (codes, q)))
    return q.view_as(weight).to(torch.float8_e4m3fn if to == "fp8" else torch.int8), scales.squeeze(-1)
