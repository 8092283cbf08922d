"""A model on the CPU leaves a core to the rest, where there is one to spare and nobody chose otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from specdec.models.weights.dense import PackedWeight, dense
from specdec.threads import count
from specdec.threads.count import ThreadCount, fixed, spare_one
from specdec.threads.loading import in_thread
from tests.models.exact import needs_one_kernel


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


@pytest.fixture(autouse=True)
def threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ThreadCount, "altered_from", None)
    monkeypatch.setattr(count, "threads", ThreadCount())
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_core_is_spared_whoever_was_busy_while_a_model_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [13]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.__setitem__(0, count))
    monkeypatch.setattr(ThreadCount, "altered_from", 16)
    spare_one()
    assert (now, ThreadCount.unaltered()) == ([15], 15)
    now[0], ThreadCount.altered_from = 12, 15
    spare_one()
    assert (now, ThreadCount.unaltered()) == ([12], 15)


@pytest.mark.parametrize("threads", [1, 2])
def test_whoever_chose_a_number_of_threads_keeps_it(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    torch.set_num_threads(threads)
    ThreadCount().fit()
    assert torch.get_num_threads() == threads


class Machine:
    """Says how much of the time threads were stopped, by how many there are, and what time it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
        self.now, self.free = 0.0, threads
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(count, "Stalls", lambda: self)
        monkeypatch.setattr(count, "perf_counter", lambda: self.now)
        torch.set_num_threads(threads)
        self.threads = ThreadCount()

    def share(self) -> float:
        return max(0.1, 0.9 * (torch.get_num_threads() - self.free))

    def counts(self, seconds: float) -> list[int]:
        """Threads of each pass, ten a second."""
        found = []
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            self.threads.fit()
            found.append(torch.get_num_threads())
        return found


def test_fewer_threads_while_others_keep_stopping_them(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 2)
    assert set(machine.counts(5)) == {2}
    machine.free = 1
    taken = machine.counts(100)
    assert taken.count(2) < 6 * 10
    assert taken[-100:].count(1) >= 90, "it is tried now and then whether they are free again, and no more"
    machine.free = 2
    assert set(machine.counts(20)[100:]) == {2}


def test_a_thread_that_begins_while_there_are_fewer_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 2)
    machine.free = 1
    assert machine.counts(0.5)[-1] == 1

    def begin() -> tuple[int, int]:
        before = torch.get_num_threads()
        machine.threads.fit()
        return before, torch.get_num_threads()

    assert in_thread(begin) == (1, 2)
    assert torch.get_num_threads() == 1, "each thread has its own number"


@pytest.mark.parametrize(("free", "fits"), [(15, 15), (14, 14), (12, 12), (5, 5), (2, 2), (0, 1)])
def test_as_many_as_are_not_stopped(monkeypatch: pytest.MonkeyPatch, free: int, fits: int) -> None:
    machine = Machine(monkeypatch, 15)
    machine.free = free
    counts = machine.counts(100)
    assert max(set(counts), key=counts.count) == fits


def test_more_are_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 2)
    machine.free = 1
    counts = machine.counts(100)
    tried = [i for i, pair in enumerate(pairwise(counts)) if pair == (1, 2)]
    gaps = [b - a for a, b in pairwise(tried)]
    assert gaps[0] < gaps[1] < gaps[2] < 80
    assert len(gaps) > 5
    assert all(80 <= gap <= 90 for gap in gaps[3:])


def test_a_chosen_number_stays_whatever_stops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    machine.threads, machine.free = ThreadCount(), 0
    assert set(machine.counts(5)) == {2}


def test_a_fixed_number_stays_whatever_stops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads that begin meanwhile."""
    machine = Machine(monkeypatch, 2)
    machine.free = 1
    assert 1 in machine.counts(5)
    with fixed():
        machine.threads.begin()
        assert set(machine.counts(5)) == {2}
    machine.threads.begin()
    assert 1 in machine.counts(5)


@pytest.mark.parametrize(("columns", "inner"), [(1152, 384), (384, 1024), (512, 2048)])
@pytest.mark.parametrize("rows", [1, 2, 5, 16, 17, 40])
def test_a_product_is_the_same_on_one_thread_and_on_two(rows: int, columns: int, inner: int) -> None:
    torch.manual_seed(rows)
    product, x = dense(torch.randn(columns, inner)), torch.randn(rows, inner)
    assert isinstance(product, PackedWeight)
    results = []
    for number in (1, 2, 1):
        torch.set_num_threads(number)
        needs_one_kernel(product, inner)
        results.append(product(x))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
