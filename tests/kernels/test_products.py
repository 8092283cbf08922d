"""Products against torch's own, and the promise that a row's bits depend on that row alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.kernels.products import Scratch, product
from specdec.kernels.tiles import Product, Tile, Tiles, by_rule
from tests.kernels.bits import same_bits

EPS = 1e-5
BOUNDS = {torch.float32: 2e-5, torch.float16: 4e-3}
CASES = [(1, 96, 64, 1), (6, 64, 128, 2), (20, 100, 96, 1), (3, 64, 256, 4)]


def _given(rows: int, inner: int, columns: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(rows)
    x = torch.randn(rows, inner, device=device).to(dtype)
    return x, (torch.randn(columns, inner, device=device) * 0.1).to(dtype)


def _close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.float(), wanted, rtol=BOUNDS[found.dtype], atol=BOUNDS[found.dtype])


def _scratch(device: torch.device) -> Scratch:
    return Scratch.on(device, 1 << 18, 64)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize(("rows", "columns", "inner", "split"), CASES)
def test_norm_and_bias(
    rows: int, columns: int, inner: int, split: int, dtype: torch.dtype, device: torch.device
) -> None:
    x, weight = _given(rows, inner, columns, dtype, device)
    norm, bias = (torch.rand(n, device=device).to(dtype) for n in (inner, columns))
    out = torch.full((rows, columns), float("nan"), dtype=dtype, device=device)
    product(x, weight, out, Tile(32, 32, split), _scratch(device), norm=norm, eps=EPS, bias=bias)
    normed = F.rms_norm(x.float(), (inner,), None, EPS) * norm.float()
    _close(out, F.linear(normed, weight.float(), bias.float()))


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize(("rows", "columns", "inner", "split"), CASES)
def test_residual(rows: int, columns: int, inner: int, split: int, dtype: torch.dtype, device: torch.device) -> None:
    x, weight = _given(rows, inner, columns, dtype, device)
    stream = torch.randn(rows, columns, device=device).to(dtype)
    out, scratch = stream.clone(), _scratch(device)
    product(x, weight, out, Tile(32, 32, split), scratch, residual=True)
    _close(out, F.linear(x.float(), weight.float()) + stream.float())
    assert not scratch.arrivals.any()  # ready for the next product


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("split", [1, 2])
def test_gate(split: int, dtype: torch.dtype, device: torch.device) -> None:
    x, weight = _given(5, 128, 2 * 48, dtype, device)
    out = torch.full((5, 48), float("nan"), dtype=dtype, device=device)
    product(x, weight, out, Tile(32, 32, split), _scratch(device), gated=True)
    gate, up = F.linear(x.float(), weight.float()).chunk(2, -1)
    _close(out, F.silu(gate) * up)


@pytest.mark.parametrize("split", [1, 2])
def test_a_row_is_the_same_bits_among_any(split: int, device: torch.device) -> None:
    """One row, a full tile of rows and several tiles: row 0 is summed in one order. On a GPU in bf16, as it is used."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float16
    x, weight = _given(70, 256, 64, dtype, device)
    norm, tile = torch.rand(256, device=device).to(dtype), Tile(64, 64, split)
    rows = {}
    for count in (1, 2, 16, 17, 70):
        out = torch.empty(count, 64, dtype=torch.float32, device=device)
        rows[count] = product(x[:count], weight, out, tile, _scratch(device), norm=norm, eps=EPS)[0]
    assert all(same_bits(row, rows[1]) for row in rows.values())


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("columns", [64, 512, 4096, 128256])
@pytest.mark.parametrize("inner", [64, 96, 384, 4096, 14336])
def test_tiles_by_rule_fit(columns: int, inner: int, gated: bool) -> None:
    tile = by_rule(Product(columns, inner, gated, torch.bfloat16))
    assert tile.split == 1 or inner % (tile.split * tile.inner) == 0
    for rows in (16, 32, 64, 128):
        bytes_ = tile.stages_for(rows, gated, 2) * tile.inner * 2 * (tile.columns * (1 + gated) + rows)
        assert bytes_ <= 200 * 1024


def test_tuned_tiles_are_kept_for_their_gpu(tmp_path: Path) -> None:
    file, wanted = tmp_path / "cache" / "tiles.json", Product(4096, 4096, False, torch.bfloat16)
    Tiles("one", file).keep(wanted, Tile(32, 64, 2))
    Tiles("other", file).keep(wanted, Tile(128, 64))
    assert Tiles("one", file).of(wanted) == Tile(32, 64, 2)
    assert Tiles("third", file).of(wanted) == by_rule(wanted)
    file.write_text("{ not json")
    assert Tiles("one", file).of(wanted) == by_rule(wanted)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("columns", "inner"), [(6144, 4096), (640, 384), (512, 4096), (128256, 2048)])
def test_candidates_for_tuning_fit_their_product(columns: int, inner: int, gated: bool) -> None:
    from specdec.kernels.tune import candidates

    wanted = Product(columns, inner, gated, torch.bfloat16)
    first, *others = candidates(wanted)
    assert first == by_rule(wanted)
    assert others
    assert first not in others
    assert all(inner % (tile.split * tile.inner) == 0 for tile in others)
