"""The contract of a weight: a format, its tensors, and the product with it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Weight(Protocol):
    """x [R, K] -> [R, N]. Calling it is the reference; kernels read the tensors themselves, by the format."""

    @property
    def format(self) -> str:
        """How the tensors are to be read, e.g. "dense"."""
        ...

    @property
    def tensor(self) -> Tensor:
        """The values, as the format lays them out."""
        ...

    @property
    def bias(self) -> Tensor | None:
        """[N]"""
        ...

    @property
    def nbytes(self) -> int: ...

    @property
    def columns(self) -> int:
        """N"""
        ...

    def __call__(self, x: Tensor) -> Tensor: ...
