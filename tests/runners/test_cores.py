"""A model on the CPU leaves a core to the rest, where there is one to spare and nobody chose otherwise."""

from __future__ import annotations

import os

import pytest
import torch

from specdec.runners.cores import spare_one


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
