"""The same drafter as in tests/decoding/test_heads.py, in rounds that the device leads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from specdec.decoding.rounds.base import Outcomes
from specdec.decoding.rounds.device import DeviceRounds
from tests.decoding import test_heads
from tests.kernels.test_runner import LAYERS, load


def test_rounds_of_the_device(tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.decoding.engine.calibrate", test_heads._guess)
    count, prompts = (24, 2) if torch.cuda.is_available() else (6, 1)  # the interpreter takes its time
    monkeypatch.setattr(test_heads, "COUNT", count)
    led: list[DeviceRounds] = []
    collect = DeviceRounds.collect

    def noting(self: DeviceRounds) -> Outcomes:
        led.append(self)
        return collect(self)

    monkeypatch.setattr(DeviceRounds, "collect", noting)
    reference = test_heads.repeating(tmp_path, num_hidden_layers=LAYERS)
    engine, head = test_heads.engine_over(load(tmp_path, device), reference)
    with engine:
        test_heads.check(engine, head, reference, bound=2e-3, prompts=prompts)
    assert led, "the host led all rounds"
