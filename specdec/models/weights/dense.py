"""Weights in 16 or 32 bits: y = x W^T + b for a few rows of x.

`dense(weight, bias)` takes the weight over and returns the form with the fastest product for its device and shape. On a
CPU, torch's plain product of 1 to 16 rows costs several passes over the weights (it re-packs them on every call); with
weights laid out once for oneDNN it costs one. On many processors oneDNN's rows are also independent of how many there
are, from two rows up, so one row is run as two where its kernel differs.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.weights.base import Weight

PACKED_ROWS = 16
"""Rows to lay the weights out for: any count runs, decode's counts run best."""
MIN_PACKED_ELEMENTS = 120_000
"""Below this a packed call's fixed cost (about 15 us) is more than the plain product's."""
_ROUND_ROWS = 64
"""What several sequences verify together mostly stays below this."""
_ROUND_STEP, _CHUNK_STEP = 8, 32
"""More than PACKED_ROWS are filled up to multiples of these, in rounds and in longer chunks: oneDNN keeps a kernel of
some 0.6 MB for every number of rows it has met, and a long life with prompts of all lengths would collect hundreds of
megabytes of them."""
SPLIT_K = 1024
"""Above this inner size oneDNN splits the reduction for a single row, and only then."""


class DenseWeight:
    """The plain product."""

    __slots__ = ("bias", "tensor")
    format = "dense"

    def __init__(self, tensor: Tensor, bias: Tensor | None) -> None:
        self.tensor, self.bias = tensor, bias  # [N, K] and [N]

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes + (0 if self.bias is None else self.bias.nbytes)

    @property
    def columns(self) -> int:
        return self.tensor.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.tensor, self.bias)


class PackedWeight:
    """The product over a weight in oneDNN's own layout."""

    __slots__ = ("bias", "columns", "nbytes", "pair_up", "run", "tensor")
    format = "packed"

    def __init__(self, tensor: Tensor, bias: Tensor | None) -> None:
        self.columns = tensor.shape[0]
        self.nbytes = tensor.nbytes + (0 if bias is None else bias.nbytes)
        self.pair_up = tensor.shape[1] > SPLIT_K
        self.tensor = torch.ops.mkldnn._reorder_linear_weight(tensor, PACKED_ROWS)  # noqa: SLF001
        self.bias = bias
        self.run = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001

    def __call__(self, x: Tensor) -> Tensor:
        if self.pair_up and x.shape[0] == 1:
            return self._product(x.expand(2, -1).contiguous())[:1]
        return self._product(x)

    def _product(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        step = _ROUND_STEP if rows <= _ROUND_ROWS else _CHUNK_STEP
        if rows > PACKED_ROWS and (missing := -rows % step):
            return self._product(F.pad(x, (0, 0, 0, missing)))[:rows]
        y: Tensor = self.run(x, self.tensor, self.bias, "none", [], "")
        return y


def dense(tensor: Tensor, bias: Tensor | None = None) -> Weight:
    """The best form of `tensor` [N, K]; the caller should keep no reference to it."""
    large = tensor.numel() >= MIN_PACKED_ELEMENTS
    if large and tensor.device.type == "cpu" and _can_pack(tensor.dtype):
        return PackedWeight(tensor, bias)
    return DenseWeight(tensor, bias)


@cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch has the packed product and gets it right. The ops are torch.compile's own, not public API,
    so they are tried out rather than trusted."""
    if dtype not in {torch.float32, torch.bfloat16}:
        return False
    try:
        x = torch.linspace(-1, 1, 3 * 64).view(3, 64).to(dtype)
        weight = torch.linspace(1, -1, 32 * 64).view(32, 64).to(dtype)
        got = PackedWeight(weight, None)(x)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.allclose(got.float(), F.linear(x.float(), weight.float()), rtol=0.02, atol=0.02)
