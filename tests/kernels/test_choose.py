"""Noise and argmax: the same numbers and tokens as torch's."""

from __future__ import annotations

import pytest
import torch

from specdec.kernels import choose
from specdec.kernels.choose import argmax, draw, gumbel
from specdec.sampling import noise, processors
from specdec.sampling.noise import Stream


def test_noise_is_that_of_every_device(device: torch.device) -> None:
    seeds, positions = [5, 2**62 + 17, 0], [3, 100_000, 0]
    found = gumbel(torch.tensor(seeds, device=device), torch.tensor(positions, device=device), 3, Stream.DRAFT, 5001)
    wanted = noise.gumbel(seeds, positions, 3, Stream.DRAFT, 5001, torch.device("cpu"))
    differing = found.cpu() != wanted
    assert differing.float().mean() < 1e-3  # a device's logarithm may differ in the last bit
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [1, 97, 4096, 10001])
def test_argmax(width: int, device: torch.device) -> None:
    torch.manual_seed(width)
    scores, added = torch.randn(2, 4, width, device=device)
    assert torch.equal(argmax(scores), scores.argmax(-1))
    assert torch.equal(argmax(scores, added), (scores + added).argmax(-1))


def test_the_first_of_equals(device: torch.device) -> None:
    scores = torch.full((2, 9000), float("-inf"), device=device)
    scores[1, [4095, 4096, 8999]] = 1.0
    assert argmax(scores).tolist() == [0, 4095]


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("width", [5, 4096, 10001])
def test_nan_is_highest_and_what_names_no_token_is_marked(width: int, noisy: bool, device: torch.device) -> None:
    """As torch has it; and never beyond the vocabulary, which would be read from."""
    scores = torch.randn(6, width, device=device)
    scores[0, width - 1] = torch.nan
    scores[1, :] = torch.nan
    scores[2, 3] = torch.inf
    scores[3, :] = -torch.inf
    scores[4, : width - 1] = -torch.inf  # as a mask leaves them
    added = torch.randn(6, width, device=device) if noisy else None
    best = (scores if added is None else scores + added).argmax(-1)
    assert torch.equal(argmax(scores, added), best)
    assert argmax(scores, added, mark=True).tolist() == [*(-1 - best[:4]).tolist(), *best[4:].tolist()]


def _rows(*values: float, device: torch.device) -> torch.Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)


@pytest.mark.parametrize("width", [5, 97, 20_000])
@pytest.mark.parametrize("steps", [0.0, 2.0])
def test_tokens_are_drawn_from_what_top_p_and_min_p_leave(width: int, steps: float, device: torch.device) -> None:
    """Token for token what the sort draws from, where many are equally likely too, and where most are masked."""
    assert (choose.FIXED.value, choose.NEGLIGIBLE.value) == (processors.FIXED, processors.NEGLIGIBLE)
    for seed, shares in enumerate([(0.95, 0.5, 1.0), (0.05, 0.9, 0.0)]):
        torch.manual_seed(seed)
        scores = 4 * torch.randn(3, 4, width, device=device)
        scores = (scores * steps).round() / steps if steps else scores
        scores[1, :, : width // 2] = -torch.inf
        added = -(-torch.rand(3, 4, width, device=device).log()).log()
        top_p, min_p = _rows(*shares, device=device), _rows(-torch.inf, -torch.inf, -2.5, device=device)
        left = processors.min_p(processors.top_p(scores, top_p), min_p)
        assert torch.equal(draw(scores, added, top_p, min_p), (left + added).argmax(-1))


def test_a_row_that_names_no_token_is_marked_when_drawn(device: torch.device) -> None:
    scores = torch.randn(4, 1, 9000, device=device)
    scores[0, 0, 8999] = torch.nan
    scores[1] = -torch.inf
    scores[2, 0, 17] = torch.inf
    shares = _rows(0.9, 0.9, 0.9, 0.9, device=device)
    for least in (-torch.inf, -2.0):
        found = draw(scores, torch.zeros_like(scores), shares, torch.full_like(shares, least), mark=True)
        assert found.flatten().tolist() == [-9000, -1, -18, int(scores[3].argmax())]
