"""mxfp4 as in gpt-oss: blocks of 32 numbers in 16 bytes, the even ones low, and a byte of exponent for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from specdec.models.weights.methods.base import Method, Tensors, on
from specdec.models.weights.quantized import QuantizedWeight, quantized


def reader(_values: Mapping[str, Any]) -> Method | None:
    """See `methods.reader`."""
    return read


def read(source: Tensors, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
    """The weight of one module, or None."""
    name = next((n for n in (f"{module}.weight", module) if f"{n}_blocks" in source), None)
    if name is None:
        return None
    columns, inner = shape
    held = on(source, f"{name}_blocks", device, (columns, inner // 32, 16))
    q = torch.stack((held & 15, held >> 4), -1).view(columns, inner)
    return quantized("mxfp4", q, on(source, f"{name}_scales", device, (columns, inner // 32)))
