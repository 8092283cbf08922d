"""What it means that two results are the same bits."""

from __future__ import annotations

import torch
from torch import Tensor


def same_bits(a: Tensor, b: Tensor) -> bool:
    """On a GPU, literally. The interpreter's products are numpy's, which sums by shape: there, to fp16's precision,
    which finds a row that sees another one."""
    if torch.cuda.is_available():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=4e-3, atol=4e-3)
