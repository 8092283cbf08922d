"""A model on the CPU leaves a core to the rest, where there is one to spare and nobody chose otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from specdec import courtesy
from specdec.courtesy import Courtesy
from specdec.local.passing import in_passing
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


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Courtesy]:
    """Somebody that this process watches."""
    monkeypatch.setattr(courtesy, "_watched", None)
    somebody, threads = Courtesy(), torch.get_num_threads()
    courtesy.watch(os.dup(somebody.inherited[0]))
    cores._lends.cache_clear()
    yield somebody
    torch.set_num_threads(threads)
    cores._lends.cache_clear()


@pytest.mark.parametrize(("threads", "there", "lent"), [(2, 2, 1), (2, 4, 2), (3, 4, 3), (1, 1, 1)])
def test_of_two_cores_one_is_lent(
    monkeypatch: pytest.MonkeyPatch, asking: Courtesy, threads: int, there: int, lent: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(there)), raising=False)
    torch.set_num_threads(threads)
    for wanted in (False, True, True, False):
        asking.ask(wanted)
        lend_one()
        assert torch.get_num_threads() == (lent if wanted else threads)


def test_a_thread_that_begins_while_one_is_lent_gets_both(
    monkeypatch: pytest.MonkeyPatch, asking: Courtesy
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    torch.set_num_threads(2)
    for wanted in (True, False):
        asking.ask(wanted)
        assert in_passing(_counted) == (1 if wanted else 2)


def _counted() -> int:
    lend_one()
    return torch.get_num_threads()


def test_whoever_chose_a_number_of_threads_keeps_it_where_nobody_asks(
    monkeypatch: pytest.MonkeyPatch, asking: Courtesy
) -> None:
    monkeypatch.setattr(courtesy, "_watched", None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    for threads in (2, 1):
        torch.set_num_threads(threads)
        lend_one()
        assert torch.get_num_threads() == threads


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
