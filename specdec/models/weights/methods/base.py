"""The contract of a reader of quantised weights, and what readers share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt
from specdec.models.weights.quantized import QuantizedWeight


class Tensors(Protocol):
    """A checkpoint's tensors by name."""

    def __contains__(self, name: str) -> bool: ...

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of this shape, or CheckpointCorrupt."""
        ...

    def tensor(self, name: str) -> Tensor:
        """A tensor of whatever shape."""
        ...


class Method(Protocol):
    """Reads the weight of one module."""

    def __call__(
        self, source: Tensors, module: str, shape: tuple[int, int], device: torch.device
    ) -> QuantizedWeight | None:
        """The weight [N, K] of `module`, on the device; None where it is not quantised."""
        ...


def fields(packed: Tensor, bits: int, along: int) -> Tensor:
    """The unsigned numbers of so many bits in 32-bit words, lowest first, side by side along a dimension: int16."""
    along %= packed.dim()
    shifts = torch.arange(0, 32, bits, device=packed.device, dtype=torch.int32)
    each = (packed.unsqueeze(along + 1) >> shifts.view(-1, *(1,) * (packed.dim() - along - 1))) & (1 << bits) - 1
    return each.to(torch.int16).flatten(along, along + 1)


def on(source: Tensors, name: str, device: torch.device, shape: tuple[int, ...] | None = None) -> Tensor:
    """A tensor, on the device."""
    held = source.tensor(name) if shape is None else source.get(name, shape)
    return held.to(device)


def zeros_or_none(zeros: Tensor) -> Tensor | None:
    """None where all are 0, which costs nothing."""
    return zeros if bool(zeros.any()) else None


def groups_of(module: str, scales: Tensor, shape: tuple[int, int], said: int) -> tuple[int, int]:
    """How many numbers of K share a scale, and how many groups there are, of scales [groups, N]. `said`: by the config,
    where the last group may not be full."""
    columns, inner = shape
    groups = len(scales)
    if scales.shape == (groups, columns) and groups:
        if said > 0 and -(-inner // said) == groups:
            return said, groups
        if inner % groups == 0:
            return inner // groups, groups
    raise CheckpointCorrupt(
        f"{module}.scales has shape {tuple(scales.shape)}; expected {columns} columns, and rows that divide {inner}"
    )


def expand(module: str, scales: Tensor, shape: tuple[int, int], block: tuple[int, int]) -> tuple[Tensor, int]:
    """Scales [N, groups], and how long a group is, of scales by tensor, column, group or block of `block`."""
    columns, inner = shape
    if scales.numel() == 1:
        return scales.view(1, 1).expand(columns, 1), inner
    rows, groups = scales.shape if scales.dim() == 2 else (len(scales), 1)
    scales = scales.view(rows, groups)
    if rows == columns and inner % groups == 0:
        return scales, inner // groups
    if rows == -(-columns // block[0]) and groups == -(-inner // block[1]):
        return scales.repeat_interleave(block[0], 0)[:columns], block[1]
    raise CheckpointCorrupt(
        f"{module} has scales of shape {tuple(scales.shape)}; expected one, or {columns} rows, or one for "
        f"each block of {block[0]}x{block[1]}"
    )
