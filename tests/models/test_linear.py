"""Packed products are the plain ones, and a row does not depend on how many there are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from specdec.models.weights import dense as products
from specdec.models.weights.dense import DenseWeight, PackedWeight, dense
from tests.models.exact import needs_one_kernel

ROWS = (1, 2, 3, 4, 5, 6, 8, 9, 16, 17, 40)
needs_packing = pytest.mark.skipif(not products._can_pack(torch.float32), reason="this torch cannot pack")


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("wide", "deep"), [(7, 5), (640, 384), (384, 1024), (300, 2048)])
def test_same_product(wide: int, deep: int, *, biased: bool) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(wide, deep), torch.randn(wide) if biased else None
    run = dense(weight.clone(), bias)
    assert run.nbytes == 4 * (wide * deep + (wide if biased else 0))
    for rows in ROWS:
        x = torch.randn(rows, deep)
        torch.testing.assert_close(run(x), F.linear(x, weight, bias), rtol=1e-4, atol=1e-4)


@needs_packing
@pytest.mark.parametrize(("wide", "deep"), [(640, 384), (384, 1024), (1024, 2048), (512, 4096)])
def test_a_row_is_the_same_alone_and_among_others(wide: int, deep: int) -> None:
    run, x = PackedWeight(torch.randn(wide, deep), None), torch.randn(40, deep)
    needs_one_kernel(run, deep)
    whole = run(x)
    for rows in ROWS:
        assert torch.equal(run(x[:rows]), whole[:rows])


def test_small_or_foreign_weights_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(dense(torch.randn(8, 8)), DenseWeight)
    assert isinstance(dense(torch.randn(512, 512, dtype=torch.float64)), DenseWeight)
    monkeypatch.setattr(products, "_can_pack", lambda dtype: False)
    assert isinstance(dense(torch.randn(512, 512)), DenseWeight)


def test_a_torch_that_packs_wrongly_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    products._can_pack.cache_clear()
    monkeypatch.setattr(PackedWeight, "__call__", lambda self, x: x.new_zeros(3, 32))
    assert not products._can_pack(torch.float32)
    products._can_pack.cache_clear()
