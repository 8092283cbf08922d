"""Weights in few bits stand for the numbers that their format says, alone and below each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.kernels.packed import Kind, codes
from specdec.models.base import Batch
from specdec.models.loading import load_model
from specdec.models.weights import few_bits, rounding
from specdec.models.weights.few_bits import FewBitsWeight
from specdec.models.weights.quantized import QuantizedWeight, quantized, stacked
from specdec.types.load import Quantize
from tests.models import models

N = 24


def _random(kind: Kind, inner: int, groups: int) -> tuple[Tensor, Tensor]:
    if kind == "mxfp4":
        return torch.randint(0, 16, (N, inner), dtype=torch.uint8), torch.randint(118, 124, (N, groups)).byte()
    q = torch.randn(N, inner).to(torch.float8_e4m3fn)
    if kind != "fp8":
        low = -8 if kind == "int4" else -128
        q = torch.randint(low, -low, (N, inner), dtype=torch.int8)
    return q, torch.rand(N, groups).bfloat16() + 0.1


def _each(values: Tensor, group: int, inner: int) -> Tensor:
    return values.double().repeat_interleave(group, 1)[:, :inner]


CASES: list[tuple[Kind, int, int]] = [
    ("int4", 256, 128), ("int4", 192, 64), ("int4", 96, 32), ("int4", 200, 200), ("int8", 192, 64), ("int8", 100, 100),
    ("int8", 48, 16), ("fp8", 384, 128), ("fp8", 192, 128), ("fp8", 72, 72),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inner", "group"), CASES)
@pytest.mark.parametrize("shift", [None, "zeros", "minimums"])
def test_numbers(kind: Kind, inner: int, group: int, shift: str | None) -> None:
    torch.manual_seed(inner)
    groups = -(-inner // group)
    q, scales = _random(kind, inner, groups)
    wide, more = q.double(), {}
    wanted = wide * _each(scales, group, inner)
    if kind != "fp8" and shift == "zeros":
        zeros = torch.randint(-8, 8, (N, groups))
        wanted, more = (wide - _each(zeros, group, inner)) * _each(scales, group, inner), {"zeros": zeros}
    elif kind != "fp8" and shift == "minimums":
        least = torch.randn(N, groups)
        lowest = -8 if kind == "int4" else -128
        wanted = (wide - lowest) * _each(scales, group, inner) + _each(least, group, inner)
        more = {"minimums": least}
    weight = quantized(kind, q, scales, group=group, **more)
    torch.testing.assert_close(weight.dequantized(torch.float32).double(), wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(codes(weight.packed).float(), q.float())
    x = torch.randn(3, inner)
    torch.testing.assert_close(weight(x).double(), x.double() @ wanted.T, rtol=1e-4, atol=1e-4)


def test_numbers_of_mxfp4() -> None:
    q, scales = _random("mxfp4", 96, 3)
    sizes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
    numbers = sizes[(q & 7).long()] * (1 - 2.0 * (q >> 3).double())
    wanted = numbers * 2 ** (_each(scales, 32, 96) - 127)
    weight = quantized("mxfp4", q, scales)
    assert torch.equal(weight.dequantized(torch.bfloat16).double(), wanted)  # no rounding
    assert weight.nbytes == N * (128 // 2 + 3 * 4)


def test_groups_in_an_order_of_their_own() -> None:
    """As of act-order: the codes' columns are K's, sorted by group."""
    order = torch.randperm(64)
    q, scales = _random("int4", 64, 2)
    wanted = torch.empty(N, 64, dtype=torch.float64)
    wanted[:, order] = q.double() * _each(scales, 32, 64)
    found = quantized("int4", q, scales, order=order).dequantized(torch.float32)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=0)


def test_a_product_reads_a_fraction_of_the_bytes() -> None:
    q, scales = _random("int4", 256, 2)
    assert quantized("int4", q, scales).nbytes == N * (256 // 2 + 2 * 4)


MIXED: list[list[dict[str, Any]]] = [
    [{"kind": "int4", "group": 32}, {"kind": "int4", "group": 32}],
    [{"kind": "int4", "group": 32}, {"kind": "int8", "group": 16}],
    [{"kind": "int4", "group": 64, "zeros": 1}, {"kind": "int4", "group": 32}],
    [{"kind": "int4", "group": 32, "minimums": 1}, {"kind": "int8", "group": 64, "zeros": 1}],
    [{"kind": "int8", "group": 32, "dtype": torch.float16}, {"kind": "int8", "group": 32}],
]


def _mixed(kind: Kind, group: int, **more: Any) -> QuantizedWeight:
    groups = 64 // group
    q, scales = _random(kind, 64, groups)
    given = {name: torch.randint(-8, 8, (N, groups)) for name in ("zeros", "minimums") if name in more}
    given = {name: value.half() if name == "minimums" else value for name, value in given.items()}
    return quantized(kind, q, scales.to(more.get("dtype", scales.dtype)), **given)


@pytest.mark.parametrize("mix", MIXED)
def test_below_each_other(mix: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    parts = [_mixed(**each) for each in mix]
    whole = stacked(parts)
    assert whole is not None
    wanted = torch.cat([part.dequantized(torch.float32) for part in parts])
    torch.testing.assert_close(whole.dequantized(torch.float32), wanted, rtol=1e-6, atol=1e-5)


def test_what_no_format_holds_together() -> None:
    assert stacked([quantized(kind, *_random(kind, 64, 2)) for kind in ("mxfp4", "int4")]) is None
    one, other = (quantized("int4", *_random("int4", 64, 2), order=torch.randperm(64)) for _ in range(2))
    assert stacked([one, other]) is None


def test_scales_that_do_not_fit() -> None:
    q, scales = _random("int4", 96, 2)
    with pytest.raises(ValueError, match="2 groups of 32 for 96 numbers"):
        quantized("int4", q, scales, group=32)
    with pytest.raises(ValueError, match="groups of 24; expected a multiple of 16"):
        quantized("int4", q, scales.repeat(1, 2), group=24)


@pytest.mark.parametrize(("kind", "group"), [("int4", 64), ("int8", 1024)])
@pytest.mark.parametrize("rows", [1, 5, 70])
def test_products_on_a_cpu(kind: Kind, group: int, rows: int) -> None:
    """In few bits, as plain where they would be slower, and as plain where torch's would not be the same numbers."""
    q, scales = _wide(kind, group)
    weight, x = quantized(kind, q, scales), torch.randn(rows, q.shape[1])
    found = few_bits.FewBitsWeight(weight.packed, torch.ones(len(q)))
    wanted = F.linear(x, weight.dequantized(torch.float32), torch.ones(len(q)))
    torch.testing.assert_close(found(x), wanted, rtol=0, atol=0.01 * wanted.abs().max().item())
    assert found.nbytes < wanted.shape[1] * q.shape[1] * 1.1


def test_one_group_that_is_a_whole_column_on_a_cpu() -> None:
    q, scales = torch.randint(-8, 8, (64, 256), dtype=torch.int8), torch.rand(64, 1).bfloat16()
    weight, x = quantized("int4", q, scales), torch.randn(3, 256)
    wanted = F.linear(x, weight.dequantized(torch.float32))
    found = few_bits.FewBitsWeight(weight.packed)(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.01 * wanted.abs().max().item())


def test_a_product_on_a_cpu_is_the_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    q, scales = _wide("int4", 64)
    weight = quantized("int4", q, scales)
    for faster in (True, False):
        monkeypatch.setattr(
            few_bits, "_seconds", lambda product, _, few=faster: isinstance(product, FewBitsWeight) != few
        )
        monkeypatch.setattr(few_bits, "_known", {})
        assert isinstance(few_bits.on_cpu(weight, torch.float32), FewBitsWeight) == faster
    shifted = quantized("int4", q, scales, zeros=torch.ones_like(scales))
    assert not isinstance(few_bits.on_cpu(shifted, torch.float32), FewBitsWeight)


def test_rounds_on_a_cpu_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products that round what they get would make a last bit that attention adds otherwise a thousand times as large:
    so each token attends as it does alone."""
    monkeypatch.setattr(few_bits, "_faster", lambda *_: True)
    folder = models.save(models.large(num_hidden_layers=2), tmp_path)
    model = load_model(folder, device="cpu", context=64, slots=5, quantize="int8")
    assert "int8" in model.info.weight_format
    ids, behind, drafts = models.tokens(5, 56), 40, 16  # 80 rows: more than are multiplied as few
    with torch.inference_mode():
        model.run(Batch(ids[:, :behind], range(5), [0] * 5, 1))
        alone = [
            model.run(Batch(ids[slot : slot + 1, at : at + 1], [slot], [at], 1)).logits
            for slot in range(5)
            for at in range(behind, 56)
        ]
        round_of_one = model.run(Batch(ids[:1, behind:], [0], [behind], drafts)).logits
        round_of_all = model.run(Batch(ids[:, behind:], range(5), [behind] * 5, drafts)).logits
    assert torch.equal(round_of_one.flatten(0, 1), torch.cat(alone[:drafts]).flatten(0, 1))
    assert torch.equal(round_of_all.flatten(0, 1), torch.cat(alone).flatten(0, 1))


def _wide(kind: Kind, group: int) -> tuple[Tensor, Tensor]:
    low = -8 if kind == "int4" else -128
    return torch.randint(low, -low, (1024, 1024), dtype=torch.int8), torch.rand(1024, 1024 // group).bfloat16() + 0.1


@pytest.mark.parametrize("to", ["int4", "int8", "fp8"])
def test_rounding_part_by_part(to: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column is rounded by itself, so a few at once take less memory and come out the same."""
    weight = torch.randn(48, 160)
    whole = rounding.rounded(weight, to, 32).packed
    monkeypatch.setattr(rounding, "_TOGETHER", 1000)
    parts = rounding.rounded(weight, to, 32).packed
    assert torch.equal(parts.tensor, whole.tensor) and torch.equal(parts.words, whole.words)
