"""Noise and argmax: the same numbers and tokens as torch's."""

from __future__ import annotations

import pytest
import torch

from specdec.kernels.choose import argmax, gumbel
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
    heat = torch.tensor([0.7, 1.0], device=device).view(2, 1, 1)
    drawn = processors.temperature(scores.view(2, 2, width), heat).flatten(0, 1) + added
    assert torch.equal(argmax(scores, added, heat), drawn.argmax(-1))


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
