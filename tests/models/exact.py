"""Where products can be demanded to the bit."""

from __future__ import annotations

import pytest
import torch

from specdec.models.weights.dense import SPLIT_K, PackedWeight


def needs_one_kernel(product: PackedWeight, inner: int) -> None:
    """Skip where oneDNN itself computes a few rows otherwise than many, whatever is made of it here."""
    x = torch.randn(40, inner)

    def multiply(rows: int) -> torch.Tensor:
        y: torch.Tensor = product.run(x[:rows], product.tensor, product.bias, "none", [], "")
        return y

    many = multiply(40)
    few = (2, 3) if inner > SPLIT_K else (1, 2, 3)
    if not all(torch.equal(multiply(rows), many[:rows]) for rows in few):
        pytest.skip("this processor computes a few rows otherwise than many")
