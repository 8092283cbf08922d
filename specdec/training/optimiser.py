"""What moves the weights: Muon the matrices, Adam the rest.

After Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks": each matrix moves along the
nearest orthogonal one to its averaged gradient, found by a few Newton-Schulz steps; a small model then learns in about
half the tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

_MOMENTUM = 0.95
_DECAY = 0.01
AT_ONCE = 2**26
"""Numbers that move together, at most: more fill the device as well as these do, and take more memory."""


class Optimiser:
    """`matrices` with the rows of each part that is a matrix by itself; the `rest` are norms and what belongs to single
    tokens."""

    def __init__(
        self,
        matrices: Sequence[tuple[Parameter, Sequence[int]]],
        rest: Sequence[Parameter],
        matrix_rate: float,
        rate: float,
    ) -> None:
        self._matrix_rate, self._rate = matrix_rate, rate
        alike: dict[tuple[int, int], list[tuple[Parameter, slice]]] = defaultdict(list)
        for parameter, rows in matrices:
            ends = list(accumulate(rows, initial=0))
            for low, high in pairwise(ends):
                alike[high - low, parameter.shape[1]].append((parameter, slice(low, high)))
        self._groups: list[tuple[tuple[int, int], list[tuple[Parameter, slice]]]] = []
        """Parts of the same shape, which move together."""
        for shape, parts in alike.items():
            size = max(1, AT_ONCE // (shape[0] * shape[1]))
            self._groups += [(shape, parts[at : at + size]) for at in range(0, len(parts), size)]
        self._momenta = [torch.zeros(len(parts), *shape, device=parts[0][0].device) for shape, parts in self._groups]
        fused = any(parameter.is_cuda for parameter in rest)
        self._adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Move the weights by so much of the rates, and clear the gradients."""
        for (shape, parts), momentum in zip(self._groups, self._momenta, strict=True):
            gradients = torch.stack([p.grad[rows] for p, rows in parts if p.grad is not None])
            momentum.lerp_(gradients, 1 - _MOMENTUM)
            update = _orthogonal(torch.lerp(gradients, momentum, _MOMENTUM))
            rate = scale * self._matrix_rate * max(1.0, shape[0] / shape[1]) ** 0.5
            weights = [parameter[rows] for parameter, rows in parts]
            torch._foreach_mul_(weights, 1 - rate * _DECAY)
            torch._foreach_add_(weights, list((-rate * update).unbind()))
        for _, parts in self._groups:
            for parameter, _ in parts:
                parameter.grad = None
        for settings in self._adam.param_groups:
            settings["lr"] = scale * self._rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """What it takes to go on."""
        return {"momenta": self._momenta, "adam": self._adam.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        for momentum, kept in zip(self._momenta, state["momenta"], strict=True):
            momentum.copy_(kept)
        self._adam.load_state_dict(state["adam"])


def _orthogonal(gradients: Tensor) -> Tensor:
    """A stack of matrices, each made nearly orthogonal (singular values near one)."""
    x = gradients.bfloat16() if gradients.is_cuda else gradients
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    found: Tensor = (x.mT if tall else x).float()
    return found
