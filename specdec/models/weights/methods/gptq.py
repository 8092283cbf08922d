"""GPTQ, with and without act-order, in both conventions of zeros: v1 stores them less one.

Bits and groups are those of a module's tensors: a config may give some modules others than the rest (`dynamic`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from specdec.errors import CheckpointCorrupt
from specdec.models.weights.methods.base import Method, Tensors, fields, groups_of, on, zeros_or_none
from specdec.models.weights.methods.compressed_tensors import order_of
from specdec.models.weights.quantized import QuantizedWeight, quantized


def reader(values: Mapping[str, Any]) -> Method | None:
    """See `methods.reader`."""
    kind = values.get("checkpoint_format") or values.get("format") or "gptq"
    if values.get("bits") not in (4, 8) or kind not in ("gptq", "gptq_v2"):
        return None
    size = int(values.get("group_size") or -1)

    def read(source: Tensors, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
        if f"{module}.qweight" not in source:
            return None
        columns, inner = shape
        words, scales = (on(source, f"{module}.{name}", device) for name in ("qweight", "scales"))
        bits = next((b for b in (4, 8) if words.shape == (inner * b // 32, columns)), None)
        if bits is None:
            held = f"{module}.qweight has shape {tuple(words.shape)}"
            raise CheckpointCorrupt(f"{held}; its config says {columns}x{inner} in 4 or 8 bits")
        group, groups = groups_of(module, scales, shape, size)
        stored, half = on(source, f"{module}.qzeros", device, (groups, columns * bits // 32)), 1 << bits - 1
        if kind == "gptq":  # each was taken from a whole word, where it may have borrowed from the next
            stored = stored + 0xFFFFFFFF // ((1 << bits) - 1)
        q, zeros = fields(words, bits, 0).t() - half, zeros_or_none(fields(stored, bits, 1).t() - half)
        order = None
        if f"{module}.g_idx" in source:
            order = order_of(on(source, f"{module}.g_idx", device, (inner,)), group, module)
        q = q if order is None else q[:, order]
        return quantized("int4" if bits == 4 else "int8", q, scales.t(), zeros=zeros, order=order, group=group)

    return read
