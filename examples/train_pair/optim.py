"""The optimiser: Muon for the matrices inside the layers, Adam for the embedding and the norms.

Contract: `Optimiser(model)` then, after each backward, `step(scale)` with the schedule's factor between 0 and 1.
Muon moves each matrix along the nearest orthogonal one to its averaged gradient, found by a few Newton-Schulz steps; a
small model then learns in about half the tokens.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn


def orthogonal(grads: Tensor) -> Tensor:
    """A stack of matrices, each made nearly orthogonal (singular values near one)."""
    x = grads.bfloat16() if grads.is_cuda else grads
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    found: Tensor = (x.mT if tall else x).float()
    return found


class Optimiser:
    """Muon and Adam side by side."""

    def __init__(self, model: nn.Module, matrix_rate: float = 0.02, rate: float = 0.003, decay: float = 0.01) -> None:
        inner: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        rest: list[nn.Parameter] = []
        for name, weight in model.named_parameters():
            inner[weight.shape].append(weight) if weight.dim() == 2 and "embed" not in name else rest.append(weight)
        self.groups = list(inner.values())
        self.momenta = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.matrix_rate, self.rate, self.decay = matrix_rate, rate, decay
        self.adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=rest[0].is_cuda)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Move the weights and clear the gradients."""
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            self._muon(group, momentum, scale * self.matrix_rate)
        for settings in self.adam.param_groups:
            settings["lr"] = self.rate * scale
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def _muon(self, group: list[nn.Parameter], momentum: Tensor, rate: float) -> None:
        """One stack of matrices of the same shape."""
        grads = torch.stack([w.grad for w in group if w.grad is not None])
        momentum.lerp_(grads, 0.05)
        update = orthogonal(torch.lerp(grads, momentum, 0.95))
        rate *= max(1.0, group[0].shape[0] / group[0].shape[1]) ** 0.5
        weights: list[Tensor] = [w.data for w in group]
        torch._foreach_mul_(weights, 1 - rate * self.decay)
        torch._foreach_add_(weights, list((-rate * update).unbind()))
        for weight in group:
            weight.grad = None
