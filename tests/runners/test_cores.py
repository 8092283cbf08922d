"""A model on the CPU leaves a core to the rest, where there is one to spare and nobody chose otherwise."""

from __future__ import annotations

import os

import pytest
import torch

from specdec import courtesy
from specdec.runners import cores
from specdec.runners.cores import lend_one, spare_one
from specdec.runners.linear import PackedLinear, linear


@pytest.mark.parametrize(
    ("cores", "threads", "chosen", "expected"),
    [
        (16, 16, None, 15),
        (4, 4, None, 3),
        (2, 2, None, 2),
        (1, 1, None, 1),
        (16, 8, None, 8),
        (16, 16, "16", 16),
    ],
)
def test_one_core_is_spared(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, chosen: str | None, expected: int
) -> None:
    now = [threads]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.__setitem__(0, count))
    spare_one()
    assert now == [expected]


@pytest.mark.parametrize(("threads", "there", "while_wanted"), [(2, 2, 1), (2, 4, 2), (3, 4, 3), (1, 1, 1)])
def test_of_two_cores_one_is_lent(
    monkeypatch: pytest.MonkeyPatch, threads: int, there: int, while_wanted: int
) -> None:
    now = [threads]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(there)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.__setitem__(0, count))
    monkeypatch.setattr(cores, "_threads", cores._Threads())
    for wanted in (False, True, True, False):
        monkeypatch.setattr(courtesy, "_watched", bytes([wanted]))
        lend_one()
        assert now == [while_wanted if wanted else threads]


@pytest.mark.parametrize("rows", [1, 2, 5, 16, 17, 40])
def test_a_product_is_the_same_on_one_thread_and_on_two(rows: int) -> None:
    torch.manual_seed(rows)
    threads = torch.get_num_threads()
    for columns, inner in ((1152, 384), (384, 1024), (512, 2048)):
        product, x = linear(torch.randn(columns, inner)), torch.randn(rows, inner)
        assert isinstance(product, PackedLinear)
        try:
            results = []
            for count in (1, 2, 1):
                torch.set_num_threads(count)
                results.append(product(x))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])
