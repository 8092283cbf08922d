"""AWQ in its form for products (gemm): 4 bits with zeros, eight columns in a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from specdec.models.weights.methods.base import Method, Tensors, fields, groups_of, on, zeros_or_none
from specdec.models.weights.quantized import QuantizedWeight, quantized

_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where the columns of a word are: a word holds 0, 2, 4, 6, 1, 3, 5, 7."""


def reader(values: Mapping[str, Any]) -> Method | None:
    """See `methods.reader`."""
    if values.get("bits") != 4 or str(values.get("version") or values.get("format") or "gemm").lower() != "gemm":
        return None
    size = int(values.get("group_size") or -1)

    def read(source: Tensors, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
        if f"{module}.qweight" not in source:
            return None
        columns, inner = shape
        scales = on(source, f"{module}.scales", device)
        group, groups = groups_of(module, scales, shape, size)
        q = _columns(on(source, f"{module}.qweight", device, (inner, columns // 8)))
        zeros = None
        if f"{module}.qzeros" in source:
            zeros = zeros_or_none(_columns(on(source, f"{module}.qzeros", device, (groups, columns // 8))))
        return quantized("int4", q, scales.t(), zeros=zeros, group=group)

    return read


def _columns(packed: Tensor) -> Tensor:
    """[n, N / 8] words to signed numbers [N, n]."""
    held = fields(packed, 4, 1).view(len(packed), -1, 8)[:, :, list(_PLACES)]
    return held.flatten(1).t() - 8
