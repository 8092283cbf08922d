"""What products learn of a machine whose kernels differ by rows and by threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specdec.runners import linear as products
from specdec.runners.invariance import settle
from specdec.runners.linear import PackedLinear

pytestmark = pytest.mark.skipif(not products._can_pack(torch.float32), reason="this torch cannot pack")


class Machine:
    """Adds a little to products of some sizes, as another order of the sum would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alone = self.many_threads = self.from_16 = False
        self.threads = 1
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(self, "threads", count))
        exact = PackedLinear.multiply

        def multiply(product: PackedLinear, x: Tensor) -> Tensor:
            rows = x.shape[0]
            off = self.alone and rows == 1
            off |= self.from_16 and rows >= 16
            off |= self.many_threads and self.threads > 7 and rows > 2
            return exact(product, x) + (1e-3 * off)

        monkeypatch.setattr(PackedLinear, "multiply", multiply)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def product() -> PackedLinear:
    torch.manual_seed(0)
    return PackedLinear(torch.randn(256, 128), None)


def same_for_all_rows(product: PackedLinear) -> bool:
    x = torch.randn(64, 128)
    whole = product(x)
    return all(torch.equal(product(x[:rows]), whole[:rows]) for rows in (1, 2, 3, 9, 15, 16, 17, 31, 33, 64))


def test_a_machine_with_one_kernel_for_all(machine: Machine, product: PackedLinear) -> None:
    machine.threads = 5
    assert settle([product], (15, 7, 3, 1)) == (15, 7, 3, 1)
    assert machine.threads == 5
    assert (product.most_rows, product.pair_up) == (64, False)
    assert same_for_all_rows(product)


def test_a_row_that_is_computed_otherwise_alone_is_computed_twice(
    machine: Machine, product: PackedLinear
) -> None:
    machine.alone = True
    assert not same_for_all_rows(product)
    settle([product], (2, 1))
    assert product.pair_up
    assert same_for_all_rows(product)


def test_rows_are_split_where_many_are_computed_otherwise(machine: Machine, product: PackedLinear) -> None:
    machine.from_16 = machine.alone = True
    assert not same_for_all_rows(product)
    assert settle([product], (2, 1)) == (2, 1)
    assert product.most_rows == 15
    assert same_for_all_rows(product)


def test_threads_that_share_a_sum_are_too_many(machine: Machine, product: PackedLinear) -> None:
    machine.many_threads = True
    assert settle([product], (15, 7, 3, 1)) == (7, 3, 1)
    machine.threads = 7
    assert same_for_all_rows(product)


def test_where_nothing_is_the_same_threads_are_not_changed(machine: Machine, product: PackedLinear) -> None:
    machine.many_threads = True
    assert settle([product], (15, 8)) == (15,)


def test_large_products_keep_their_threads(
    machine: Machine, product: PackedLinear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specdec.runners.invariance._SMALL", 256 * 128 - 1)
    assert settle([product], (15, 7)) == (15,)


def test_half_precision_is_not_tried(machine: Machine) -> None:
    machine.alone = True
    product = (
        PackedLinear(torch.randn(256, 128).bfloat16(), None) if products._can_pack(torch.bfloat16) else None
    )
    assert settle([product] if product else [], (15, 7)) == (15, 7)
    assert product is None or not product.pair_up
