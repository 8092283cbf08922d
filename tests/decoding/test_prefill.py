"""How long the chunks of a prompt are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from specdec.decoding.prefill import Prefill
from specdec.decoding.speculation.costs import CostCurve


def _prefill(device: str, monkeypatch: pytest.MonkeyPatch) -> Prefill:
    guess = CostCurve()
    for size in (1, 16):
        guess.observe(size, 0.005)
    target: Any = SimpleNamespace(info=SimpleNamespace(device=torch.device(device)))
    found = Prefill(target, guess)
    monkeypatch.setattr(found._clock, "seconds", lambda began, ended: ended - began)
    return found


def test_chunks_beside_answers_grow_with_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess from short passes is not believed; and behind a long prompt a chunk takes longer."""
    prefill, sizes = _prefill("cuda", monkeypatch), []
    assert prefill._size(alone=True) == 2048
    for timed in (
        None,
        (512, 0.0, 0.012),
        (1024, 0.0, 0.018),
        (2048, 0.0, 0.039),
        (2048, 0.0, 0.08),
        (1024, 0.0, 0.04),
    ):
        prefill._timed = timed
        sizes.append(prefill._size(alone=False))
    assert sizes == [512, 1024, 2048, 2048, 1024, 1024]


def test_a_cpu_takes_shorter_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _prefill("cpu", monkeypatch)._size(alone=True) == 512
