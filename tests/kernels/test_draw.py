"""Tokens drawn by the kernels: token for token those that the processors leave, and a sort of the vocabulary finds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from specdec.kernels import draw as kernels
from specdec.kernels.draw import draw
from specdec.sampling import processors

NONE = 1 << 40
"""No top_k."""
LIMITS = {
    "none": (1.0, NONE, 1.0, 0.0),
    "top_p": (1.0, NONE, 0.95, 0.0),
    "likeliest": (0.8, NONE, 0.0, 0.0),
    "min_p": (1.0, NONE, 1.0, 0.08),
    "top_k": (0.7, 20, 1.0, 0.0),
    "first": (1.3, 1, 0.9, 0.0),
    "all": (0.6, 20, 0.95, 0.01),
    "many": (1.5, 300, 0.9, 0.0),
    "flat": (30.0, NONE, 0.9, 0.0),
}


def parameters(rows: Sequence[str], device: torch.device) -> list[Tensor]:
    """As `draw` takes them."""
    columns = zip(*(LIMITS[row] for row in rows), strict=True)
    kinds = (torch.float32, torch.int64, torch.float32, torch.float32)
    found = [torch.tensor(c, dtype=kind, device=device).view(-1, 1, 1) for c, kind in zip(columns, kinds, strict=True)]
    return [*found[:3], found[3].log()]


def wanted(logits: Tensor, noise: Tensor, limits: list[Tensor]) -> Tensor:
    """By the processors, a row at a time."""
    rows = []
    for b in range(len(logits)):
        heat, k, p, log_min_p = (values[b : b + 1] for values in limits)
        scores = processors.temperature(logits[b : b + 1], heat)
        if (most := int(k)) < scores.shape[-1]:
            scores = processors.top_k(scores, k, most)
        rows.append(processors.min_p(processors.top_p(scores, p), log_min_p) + noise[b : b + 1])
    return torch.cat(rows).argmax(-1)


def _noise(*shape: int, device: torch.device) -> Tensor:
    return -(-torch.rand(*shape, device=device).log()).log()


@pytest.mark.parametrize("width", [5, 97, 4097, 20_000])
@pytest.mark.parametrize("steps", [0.0, 2.0])
def test_the_tokens_that_a_sort_finds(width: int, steps: float, device: torch.device) -> None:
    """Where many are equally likely too, and where most are masked; rows of different kinds side by side."""
    assert (kernels.FIXED.value, kernels.NEGLIGIBLE.value) == (processors.FIXED, processors.NEGLIGIBLE)
    torch.manual_seed(width)
    logits = 4 * torch.randn(len(LIMITS), 2, width, device=device)
    logits = (logits * steps).round() / steps if steps else logits
    logits[::2, 1, : width // 2] = -torch.inf
    noise, limits = _noise(*logits.shape, device=device), parameters(list(LIMITS), device)
    assert torch.equal(draw(logits, noise, *limits), wanted(logits, noise, limits))


@pytest.mark.parametrize("kind", ["top_p", "all", "many", "min_p"])
def test_what_the_candidates_do_not_hold(kind: str, device: torch.device) -> None:
    """Equals by the thousand, more than there is room for."""
    logits = torch.randint(0, 3, (1, 2, 9000), device=device).float()
    noise, limits = _noise(*logits.shape, device=device), parameters([kind], device)
    assert torch.equal(draw(logits, noise, *limits), wanted(logits, noise, limits))


@pytest.mark.parametrize("kind", ["none", "top_p", "all"])
def test_a_row_that_names_no_token_is_marked(kind: str, device: torch.device) -> None:
    logits = torch.randn(4, 1, 9000, device=device)
    logits[0, 0, 8999] = torch.nan
    logits[1] = -torch.inf
    logits[2, 0, 17] = torch.inf
    found = draw(logits, torch.zeros_like(logits), *parameters([kind] * 4, device), mark=True)
    assert found.flatten().tolist() == [-9000, -1, -18, int(logits[3].argmax())]
