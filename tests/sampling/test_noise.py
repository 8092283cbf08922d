"""Philox against its published vectors; noise against its distribution and its promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from specdec.sampling import noise
from specdec.sampling.noise import Stream, philox4x32

CPU = torch.device("cpu")
ONES = 0xFFFFFFFF
PI_COUNTER = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
PI_KEY = (0xA4093822, 0x299F31D0)

# Random123, examples/kat_vectors
KNOWN = [
    (10, (0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (10, (ONES, ONES), (ONES,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (10, PI_KEY, PI_COUNTER, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    (7, (0, 0), (0, 0, 0, 0), (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    (7, (ONES, ONES), (ONES,) * 4, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
    (7, PI_KEY, PI_COUNTER, (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A)),
]


@pytest.mark.parametrize(("rounds", "key", "counter", "words"), KNOWN)
def test_philox_gives_the_published_words(
    rounds: int, key: tuple[int, int], counter: tuple[int, int, int, int], words: tuple[int, ...]
) -> None:
    assert philox4x32(key, counter, rounds) == words
    k0, k1 = (torch.tensor([x]) for x in key)
    c0, c1, c2, c3 = (torch.tensor([x]) for x in counter)
    assert tuple(int(w) for w in philox4x32((k0, k1), (c0, c1, c2, c3), rounds)) == words


def test_gumbel_is_the_documented_function() -> None:
    seed, position, width = 2**62 + 12345, 77, 11
    drawn = noise.gumbel([seed], [position], 2, Stream.DRAFT, width, CPU)
    for j in range(2):
        for v in range(width):
            counter = (v // 4, position + j, 1, 0)
            u = (philox4x32((seed & ONES, seed >> 32), counter)[v % 4] + 0.5) * 2.0**-32
            assert drawn[0, j, v].item() == pytest.approx(-np.log(-np.log1p(-u)), rel=1e-6)


GOLDEN_GUMBEL = [-0.19189969, -0.30076388, 0.15731260, 0.29222852, -0.38376394, -0.84152913]
GOLDEN_UNIFORM = 0.3146280728979036


def test_golden_values_keep_seeds_stable_over_versions() -> None:
    drawn = noise.gumbel([42], [3], 1, Stream.TARGET, 6, CPU).flatten()
    assert drawn.tolist() == pytest.approx(GOLDEN_GUMBEL, rel=1e-6)
    assert noise.uniform(42, 3, Stream.ACCEPT) == GOLDEN_UNIFORM


def test_noise_does_not_depend_on_batch_count_or_width() -> None:
    seeds, positions = [5, 2**63 - 1, 5], [0, 13, 4]
    whole = noise.gumbel(seeds, positions, 6, Stream.TARGET, 1003, CPU)
    for b, (seed, start) in enumerate(zip(seeds, positions, strict=True)):
        assert torch.equal(noise.gumbel([seed], [start], 6, Stream.TARGET, 1003, CPU)[0], whole[b])
        for j in (0, 5):
            for width in (1, 17, 1000, 1003, 2048):
                alone = noise.gumbel([seed], [start + j], 1, Stream.TARGET, width, CPU)[0, 0]
                shared = min(width, 1003)
                assert torch.equal(alone[:shared], whole[b, j, :shared])
    assert torch.equal(whole[0, 4:], whole[2, :2])  # same seed, overlapping positions


def test_on_a_cpu_no_position_of_many_rows_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of five positions each, of which two are wanted again."""
    drawn: list[int] = []
    by_steps = noise._drawn

    def noting(rows: list[tuple[int, int]], count: int, *more: Any) -> Tensor:
        drawn.append(len(rows) * count)
        return by_steps(rows, count, *more)

    monkeypatch.setattr(noise, "_drawn", noting)
    seeds, width = [901, 902, 903, 904], 4096
    for start in range(0, 30, 3):
        found = noise.gumbel(seeds, [start] * len(seeds), 5, Stream.TARGET, width, CPU)
        assert torch.equal(found[2, :1], by_steps([(903, start)], 1, Stream.TARGET, width, CPU)[0])
    assert sum(drawn) == len(seeds) * 32
    drawn.clear()
    many = noise.gumbel(range(2000), [7] * 2000, 1, Stream.TARGET, width, CPU)  # more than are kept
    assert torch.equal(many[903:904], by_steps([(903, 7)], 1, Stream.TARGET, width, CPU))
    assert sum(drawn) == 2000 and max(drawn) == 16


def test_uniform_is_open_and_exact_at_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, expected in ((0, 2.0**-33), (ONES, 1 - 2.0**-24)):
        monkeypatch.setattr(noise, "philox4x32", lambda *_, w=word: (w, w, w, w))
        value = noise.uniform(1, 1, Stream.ACCEPT)
        assert value == expected == torch.tensor(value).item()


@pytest.mark.parametrize("word", [0, 1, 2**31, ONES - 1, ONES])
def test_gumbel_is_finite_and_resolved_at_the_edges(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(torch.full((1, 1, 1), word) for _ in range(4))
    monkeypatch.setattr(noise, "philox4x32", lambda *_: words)
    monkeypatch.setattr(noise, "_kept", noise._Kept())  # what is drawn here must not be found by others
    drawn = noise.gumbel([1], [0], 1, Stream.TARGET, 4, CPU)
    u = (word + 0.5) / 2**32
    assert drawn.flatten().tolist() == pytest.approx([-np.log(-np.log1p(-u))] * 4, rel=1e-6)


@pytest.fixture(scope="module")
def sample() -> Tensor:
    """Gumbel noise [4 seeds, 8 positions, 65536]."""
    return noise.gumbel([1, 2, 3, 2**40], [0, 0, 100, 7], 8, Stream.TARGET, 65536, CPU)


def test_gumbel_distribution(sample: Tensor) -> None:
    values = sample.double().flatten().numpy()
    assert scipy.stats.kstest(values, "gumbel_r").pvalue > 1e-3
    for b in range(4):
        assert scipy.stats.kstest(values.reshape(4, -1)[b], "gumbel_r").pvalue > 1e-3


def test_gumbel_tails(sample: Tensor) -> None:
    """Counts beyond far thresholds are Poisson around their exact expectation."""
    for threshold in (6.0, 9.0, 11.0):
        expected = sample.numel() * scipy.stats.gumbel_r.sf(threshold)
        count = int((sample > threshold).sum())
        assert scipy.stats.poisson.cdf(count, expected) > 1e-4
        assert scipy.stats.poisson.sf(count, expected) > 1e-4
    for threshold in (-2.0, -2.3, -2.5):
        expected = sample.numel() * scipy.stats.gumbel_r.cdf(threshold)
        count = int((sample < threshold).sum())
        assert scipy.stats.poisson.cdf(count, expected) > 1e-4
        assert scipy.stats.poisson.sf(count, expected) > 1e-4


def test_uniform_distribution() -> None:
    drawn = [noise.uniform(seed, position, Stream.ACCEPT) for seed in range(200) for position in range(200)]
    assert scipy.stats.kstest(drawn, "uniform").pvalue > 1e-3


def _correlation(a: Tensor, b: Tensor) -> float:
    """In units of its standard deviation under independence."""
    return float(abs(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]) * a.numel() ** 0.5)


def test_neighbours_are_uncorrelated(sample: Tensor) -> None:
    for lag in (1, 2, 3, 4, 8, 1024):
        assert _correlation(sample[..., lag:], sample[..., :-lag]) < 4
    assert _correlation(sample[:, 1:], sample[:, :-1]) < 4  # positions
    assert _correlation(sample[0], sample[1]) < 4  # adjacent seeds
    for stream in (Stream.DRAFT, Stream.ACCEPT, Stream.RESIDUAL):
        other = noise.gumbel([1, 2, 3, 2**40], [0, 0, 100, 7], 8, stream, 65536, CPU)
        assert _correlation(sample, other) < 4
