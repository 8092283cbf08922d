"""Rotary position tables, with transformers' own frequencies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

KINDS = ("default", "linear", "dynamic", "llama3", "yarn")
"""Kinds whose frequencies do not change with the sequence. Dynamic ones change only beyond the model's maximum, which
no slot reaches."""


def frequencies(config: Any, head_dim: int) -> tuple[Tensor, float]:
    """Inverse frequencies [head_dim / 2] fp32 and the factor on cos and sin."""
    parameters = config.rope_parameters
    if parameters["rope_type"] == "default":
        steps = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        return 1.0 / (parameters["rope_theta"] ** steps), 1.0
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    inverse, factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config)
    return inverse.float(), factor


class Rope:
    """cos and sin of every position. The sine carries the sign of the half that it multiplies, so that rotating is one
    roll and two products."""

    __slots__ = ("cos", "half", "sin")

    def __init__(self, inverse: Tensor, factor: float, positions: int, device: torch.device) -> None:
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), inverse)
        cos, sin = angles.cos() * factor, angles.sin() * factor
        # [positions, 1, head_dim]: broadcasts over the heads
        self.cos = torch.cat((cos, cos), -1).unsqueeze(1).to(device)
        self.sin = torch.cat((-sin, sin), -1).unsqueeze(1).to(device)
        self.half = inverse.shape[0]

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [..., heads, head_dim] in any precision, rotated in fp32 and given back in its own."""
        wide = x.float()
        return torch.addcmul(wide * cos, wide.roll(self.half, -1), sin).to(x.dtype)
