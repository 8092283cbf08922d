"""compressed-tensors, as llm-compressor writes it for vLLM: pack-quantized, int-quantized, float-quantized, and mxfp4.

What a config says of activations is not done: they stay in the model's precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt
from specdec.models.weights.methods.base import Method, Tensors, expand, fields, on, zeros_or_none
from specdec.models.weights.quantized import QuantizedWeight, quantized

_FORMATS = {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mxfp4-pack-quantized", "dense"}
_MIXED = "mixed-precision"


def reader(values: Mapping[str, Any]) -> Method | None:
    """See `methods.reader`."""
    groups = list((values.get("config_groups") or {}).values())
    outer = values.get("format")
    formats = {group.get("format") or outer for group in groups} | ({outer} - {_MIXED})
    sparse = (values.get("sparsity_config") or {}).get("format", "dense")
    turned = values.get("transform_config")
    weights = [group.get("weights") or {} for group in groups]

    def known(weights: Mapping[str, Any]) -> bool:
        kind, bits = weights.get("type", "int"), weights.get("num_bits")
        return bits in (4, 8) if kind == "int" else bits == 8 or (bits == 4 and weights.get("group_size") == 32)

    if not groups or not all(map(known, weights)) or not formats <= _FORMATS or sparse != "dense" or turned:
        return None
    block = next((tuple(one["block_structure"]) for one in weights if one.get("block_structure")), (128, 128))

    def read(source: Tensors, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
        if f"{module}.weight_packed" in source:
            return _packed(source, module, shape, block, device)
        if f"{module}.weight_scale" not in source:
            return None
        q = on(source, f"{module}.weight", device, shape)
        scales, group = expand(module, on(source, f"{module}.weight_scale", device), shape, block)
        if q.dtype == torch.float8_e4m3fn:
            return quantized("fp8", q, scales, group=group)
        return quantized("int8", q, scales, zeros=_zeros(source, module, shape, block, device), group=group)

    return read


def _zeros(
    source: Tensors, module: str, shape: tuple[int, int], block: tuple[int, int], device: torch.device, bits: int = 8
) -> Tensor | None:
    """[N, groups]. Beside packed codes they are packed too, unless one is for all, or the program was an old one."""
    if f"{module}.weight_zero_point" not in source:
        return None
    stored = on(source, f"{module}.weight_zero_point", device)
    if stored.dtype == torch.int32:
        stored = fields(stored, bits, 0)[: shape[0]] - (1 << bits - 1)
    return zeros_or_none(expand(module, stored, shape, block)[0])


def _packed(
    source: Tensors, module: str, shape: tuple[int, int], block: tuple[int, int], device: torch.device
) -> QuantizedWeight:
    columns, inner = shape
    if (
        f"{module}.weight_shape" in source
        and (said := tuple(source.tensor(f"{module}.weight_shape").tolist())) != shape
    ):
        raise CheckpointCorrupt(f"{module}.weight_shape says {said}; its config says {shape}")
    held = on(source, f"{module}.weight_packed", device)
    if held.dtype == torch.uint8:
        q = torch.stack((held & 15, held >> 4), -1).flatten(1)
        return quantized("mxfp4", q, on(source, f"{module}.weight_scale", device, (columns, inner // 32)))
    bits = next((b for b in (4, 8) if tuple(held.shape) == (columns, -(-inner * b // 32))), None)
    if bits is None:
        raise CheckpointCorrupt(
            f"{module}.weight_packed has shape {tuple(held.shape)}; its config says {columns}x{inner} in 4 or 8 bits"
        )
    q = fields(held, bits, 1)[:, :inner] - (1 << bits - 1)
    scales, group = expand(module, on(source, f"{module}.weight_scale", device), shape, block)
    zeros = _zeros(source, module, shape, block, device, bits)
    order = None
    if f"{module}.weight_g_idx" in source:
        order = order_of(on(source, f"{module}.weight_g_idx", device, (inner,)), group, module)
        q = q if order is None else q[:, order]
    return quantized("int4" if bits == 4 else "int8", q, scales, zeros=zeros, order=order, group=group)


def order_of(groups: Tensor, group: int, module: str) -> Tensor | None:
    """Columns sorted by the group [K] that each belongs to; None where they are."""
    if bool((groups < 0).all()) or bool((groups == torch.arange(len(groups), device=groups.device) // group).all()):
        return None
    if bool((groups.bincount() != group).any()):
        raise CheckpointCorrupt(f"{module}: its groups have not {group} columns each, as its scales say")
    return groups.argsort(stable=True)
