"""Products with weights in few bits: the numbers they stand for, and the law of bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.kernels import prompt_products
from specdec.kernels.packed import Kind, Packed, pack, unpacked
from specdec.kernels.products import Scratch, product
from specdec.kernels.tiles import Tile, by_rule, product_of
from specdec.kernels.unpack import dense
from specdec.models import families
from specdec.models.base import Batch, ModelOptions
from specdec.models.eager import model as eager
from specdec.models.graphs import Graphs
from specdec.models.triton.model import TritonModel
from specdec.models.weights.checkpoint import Safetensors, read_config
from specdec.models.weights.layers import Quantization
from specdec.models.weights.rounding import of_head
from specdec.types.load import Quantize
from tests.kernels.bits import same_bits
from tests.kernels.test_runner import saved
from tests.models.models import tokens

EPS = 1e-5
CUDA = torch.cuda.is_available()
DTYPES = [torch.float16, torch.bfloat16] if CUDA else [torch.float16, torch.float32]
CASES: list[tuple[Kind, int, int, torch.dtype, str | None]] = [
    ("int4", 256, 128, torch.float16, None),
    ("int4", 256, 64, torch.bfloat16, "zeros"),
    ("int4", 160, 32, torch.float16, "minimums"),
    ("int4", 256, 256, torch.float32, "zeros"),
    ("int8", 256, 128, torch.float32, None),
    ("int8", 104, 104, torch.float16, "zeros"),
    ("int8", 64, 16, torch.bfloat16, "minimums"),
    ("fp8", 256, 128, torch.float32, None),
    ("fp8", 128, 128, torch.bfloat16, None),
    ("mxfp4", 160, 32, torch.uint8, None),
]
"""Kind, K, numbers in a group, precision of the scales, and what shifts the codes."""


def random(
    device: torch.device, columns: int, kind: Kind, inner: int, group: int, precision: torch.dtype, shift: str | None
) -> Packed:
    """A packed W of no meaning."""
    torch.manual_seed(columns + inner)
    groups, more = -(-inner // group), dict[str, Tensor]()
    if kind == "mxfp4":
        q = torch.randint(0, 16, (columns, inner), dtype=torch.uint8, device=device)
        return pack(kind, q, torch.randint(118, 124, (columns, groups), device=device).byte(), group=group)
    low = -8 if kind == "int4" else -128
    q = torch.randint(low, -low, (columns, inner), device=device)
    if kind == "fp8":
        q = torch.randn(columns, inner, device=device).mul_(2).to(torch.float8_e4m3fn)
    scales = (torch.rand(columns, groups, device=device) * 0.02 + 0.01).to(precision)
    if shift:
        shifts = torch.randint(-8, 8, (columns, groups), device=device)
        more = {shift: shifts if shift == "zeros" else (shifts * 0.01).to(precision)}
    return pack(kind, q, scales, group=group, **more)


def _scratch(device: torch.device) -> Scratch:
    return Scratch.on(device, 1 << 20, 64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gated", [False, True])
def test_products(case: Any, dtype: torch.dtype, device: torch.device, *, gated: bool) -> None:
    kind, inner, *rest = case
    columns, rows = 72, 5
    weight = random(device, columns * (1 + gated), kind, inner, *rest)
    x, norm = torch.randn(rows, inner, device=device).to(dtype), torch.rand(inner, device=device).to(dtype)
    out = torch.full((rows, columns), float("nan"), device=device)
    product(x, weight, out, Tile(64, weight.unit), _scratch(device), norm=norm, eps=EPS, gated=gated)
    wanted = F.linear(F.rms_norm(x.float(), (inner,), None, EPS) * norm.float(), unpacked(weight, torch.float32))
    if gated:
        gate, up = wanted.chunk(2, -1)
        wanted = F.silu(gate) * up
    bound = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype] * wanted.abs().max().item()
    torch.testing.assert_close(out, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_written_down(case: Any, device: torch.device) -> None:
    """What a prompt multiplies with is what the weight says, rounded once."""
    kind, inner, *rest = case
    weight = random(device, 72, kind, inner, *rest)
    found = dense(weight, torch.empty(72, inner, dtype=DTYPES[0], device=device))
    wanted = unpacked(weight, DTYPES[0])
    if weight.whole and weight.shift != "minimums":  # its scales come after the product
        assert torch.equal(found, found.round() if kind != "fp8" else found)
        return
    assert (found != wanted).float().mean().item() < 0.002  # a fused multiply and add rounds once less
    torch.testing.assert_close(found, wanted, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_errors_are_those_of_rounded_numbers(case: Any, device: torch.device) -> None:
    """Against fp64, a product errs as one in fp32 by the numbers in 16 bits does."""
    kind, inner, *rest = case
    weight, dtype = random(device, 72, kind, inner, *rest), DTYPES[0 if not CUDA else 1]
    x, tile = torch.randn(16, inner, device=device).to(dtype), Tile(64, weight.unit)
    found = product(x, weight, torch.empty(16, 72, device=device), tile, _scratch(device))
    exact = x.double() @ unpacked(weight, torch.float32).double().T
    rounded = F.linear(x.float(), unpacked(weight, dtype).float())
    floor = 1e-6 * exact.square().mean().sqrt()  # of the sums themselves, where no number is rounded
    assert (found - exact).square().mean().sqrt() <= 1.2 * (rounded - exact).square().mean().sqrt() + floor


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[6], CASES[9]])
@pytest.mark.parametrize("gated", [False, True])
def test_a_row_is_the_same_bits_among_any(case: Any, device: torch.device, *, gated: bool) -> None:
    """One row, many rows, and the kernels of prompts, with a split where it fits."""
    kind, inner, *rest = case
    inner, rest[0] = 2 * inner, 2 * rest[0] if rest[0] == inner else rest[0]
    weight = random(device, 64 * (1 + gated), kind, inner, *rest)
    dtype, split = DTYPES[-1] if CUDA else DTYPES[0], 2 if inner % (2 * weight.unit) == 0 else 1
    x, norm = torch.randn(130, inner, device=device).to(dtype), torch.rand(inner, device=device).to(dtype)
    x *= 0.1
    how: dict[str, Any] = {"norm": norm, "eps": EPS, "gated": gated}
    tile, found = Tile(64, weight.unit, split), {}
    for count in (1, 17, 130):
        out = torch.empty(count, 64, device=device)
        found[count] = product(x[:count], weight, out, tile, _scratch(device), **how)
    assert all(same_bits(found[count], found[130][:count]) for count in found)
    if prompt_products.exact({product_of(weight, inner, dtype, gated=gated): tile}, dtype, device):
        wide = prompt_products.product(x, weight, torch.empty(130, 64, device=device), tile, **how)
        assert same_bits(wide, found[130])


def test_groups_in_an_order_of_their_own(device: torch.device) -> None:
    weight = random(device, 64, "int4", 128, 64, torch.float16, None)
    weight = replace(weight, order=torch.randperm(128, device=device).to(torch.int32))
    x, norm = torch.randn(130, 128, device=device).half(), torch.rand(128, device=device).half()
    tile, wanted = Tile(64, weight.unit), F.linear(x.float(), unpacked(weight, torch.float32))
    narrow = product(x, weight, torch.empty(130, 64, device=device), tile, _scratch(device))
    torch.testing.assert_close(narrow, wanted, rtol=0, atol=4e-3 * wanted.abs().max().item())
    assert same_bits(prompt_products.product(x, weight, torch.empty(130, 64, device=device), tile), narrow)
    how: dict[str, Any] = {"norm": norm, "eps": EPS}
    narrow = product(x, weight, torch.empty(130, 64, device=device), tile, _scratch(device), **how)
    alone = product(x[:1], weight, torch.empty(1, 64, device=device), tile, _scratch(device), **how)
    assert same_bits(alone, narrow[:1])
    assert same_bits(prompt_products.product(x, weight, torch.empty(130, 64, device=device), tile, **how), narrow)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(6144, 4096), (4096, 4096), (14336, 4096), (4096, 14336), (1536, 576)])
@pytest.mark.parametrize("case", CASES)
def test_the_law_of_bits_in_real_sizes(case: Any, shape: tuple[int, int], device: torch.device) -> None:
    """By the tiles that a model would have: every row alone, and in the kernels of prompts where they are used."""
    kind, whole, group, precision, shift = case
    (columns, inner), gated = shape, shape[0] == 14336
    weight = random(device, columns * (1 + gated), kind, inner, inner if group == whole else group, precision, shift)
    wanted = product_of(weight, inner, torch.bfloat16, gated=gated)
    tile, norm = by_rule(wanted), torch.rand(inner, device=device).bfloat16() if inner < columns else None
    x = torch.randn(300, inner, device=device).bfloat16()
    how: dict[str, Any] = {"norm": norm, "eps": EPS, "gated": gated, "residual": norm is None}
    scratch, stream = Scratch.on(device, 1 << 26, 1 << 15), torch.randn(300, columns, device=device)
    together = product(x, weight, stream.clone(), tile, scratch, **how)
    for count in (1, 16, 17, 70):
        for first in (0, 150):
            rows = slice(first, first + count)
            alone = product(x[rows], weight, stream[rows].clone(), tile, scratch, **how)
            assert same_bits(alone, together[rows])
    if prompt_products.exact({wanted: tile}, torch.bfloat16, device):
        assert same_bits(prompt_products.product(x, weight, stream.clone(), tile, **how), together)


@pytest.mark.parametrize("group", [0, 32, 64, 128])
@pytest.mark.parametrize("kind", ["int4", "int8", "fp8", "mxfp4"])
@pytest.mark.parametrize(("columns", "inner"), [(6144, 4096), (128256, 4096), (512, 576), (4096, 14336)])
def test_tiles_by_rule_fit(kind: Kind, group: int, columns: int, inner: int) -> None:
    for gated in (False, True):
        wanted = product_of(torch.empty(columns * (1 + gated), 0, device="meta"), inner, torch.bfloat16, gated=gated)
        wanted = replace(wanted, kind=kind, group=group)
        tile = by_rule(wanted)
        assert tile.inner % wanted.unit == 0
        assert tile.split == 1 or inner % (tile.split * tile.inner) == 0


@pytest.mark.parametrize("to", ["int4", pytest.param("fp8", marks=pytest.mark.slow)])
def test_a_model(to: Quantize, tmp_path: Path, device: torch.device) -> None:
    """The kernels' logits are those of the same rounded weights in torch."""
    saved("qwen3", tmp_path)
    family = families.describe(read_config(tmp_path))
    assert family is not None
    options = ModelOptions(name="tiny", device=device, dtype=torch.float32, context=64, slots=2)
    plain, packed = (
        eager.load(Safetensors(tmp_path), family, Quantization(to=to, head=True, packed=stay), **options)
        for stay in (False, True)
    )
    assert packed.weights.head.format == of_head(to)
    assert packed.info.weight_format.startswith(to)
    ids = tokens(1, 9).to(device)
    batch = Batch(ids, [0], [0], 9)
    found = TritonModel(packed, Graphs(capture=device.type == "cuda")).run(batch).logits
    torch.testing.assert_close(found, plain.run(batch).logits, rtol=1e-4, atol=1e-4)
