"""transformers' fp8, as DeepSeek and Qwen publish it: e4m3 with a scale for each block of 128 x 128, or for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from specdec.models.weights.methods.base import Method, Tensors, expand, on
from specdec.models.weights.quantized import QuantizedWeight, quantized


def reader(values: Mapping[str, Any]) -> Method | None:
    """See `methods.reader`."""
    block = values.get("weight_block_size") or (128, 128)
    size = (int(block[0]), int(block[1]))

    def read(source: Tensors, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
        names = [f"{module}.{name}" for name in ("weight_scale_inv", "weight_scale")]
        name = next((name for name in names if name in source), None)
        if name is None:
            return None
        q = on(source, f"{module}.weight", device, shape)
        scales, group = expand(module, on(source, name, device).float(), shape, size)
        return quantized("fp8", q, scales, group=group)

    return read
