"""GPTQ, with and without act-order, in both conventions of zeros: v1 stores them less one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from specdec.models.weights.methods.base import Method, Tensors, fields, on, zeros_or_none
from specdec.models.weights.methods.compressed_tensors import order_of
from specdec.models.weights.quantized import QuantizedWeight, quantized


def reader(values: Mapping[str, Any]) -> Method | None:
    """See `methods.reader`."""
    bits, kind = values.get("bits"), values.get("checkpoint_format") or "gptq"
    if bits not in (4, 8) or kind not in ("gptq", "gptq_v2"):
        return None
    size, less, half = int(values.get("group_size") or -1), int(kind == "gptq"), 1 << bits - 1

    def read(source: Tensors, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
        if f"{module}.qweight" not in source:
            return None
        columns, inner = shape
        group = size if size > 0 else inner
        groups, each = -(-inner // group), 32 // bits
        q = fields(on(source, f"{module}.qweight", device, (inner // each, columns)), bits, 0).t() - half
        stored = on(source, f"{module}.qzeros", device, (groups, columns // each))
        zeros = zeros_or_none(fields(stored, bits, 1).t() + less - half)
        scales = on(source, f"{module}.scales", device, (groups, columns)).t()
        order = None
        if f"{module}.g_idx" in source:
            order = order_of(on(source, f"{module}.g_idx", device, (inner,)), group, module)
        q = q if order is None else q[:, order]
        return quantized("int4" if bits == 4 else "int8", q, scales, zeros=zeros, order=order, group=group)

    return read
