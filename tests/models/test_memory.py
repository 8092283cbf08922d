"""Whether a model fits is known before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.errors import NotEnoughMemory
from specdec.models import memory
from specdec.models.weights.checkpoint import read_config
from tests.models import models

GIB = 2**30


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return models.save(models.build("llama"), tmp_path)


def _check(folder: Path, monkeypatch: pytest.MonkeyPatch, free: list[float], **changes: Any) -> bool:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))

    def left(at: torch.device | int) -> tuple[int, int]:
        return int(free[at if isinstance(at, int) else at.index] * GIB), 0

    monkeypatch.setattr(torch.cuda, "mem_get_info", left)
    options: dict[str, Any] = {"context": 64, "slots": 2, "spread": False, **changes}
    config = read_config(folder)
    return memory.check(folder, config, name="m", device=torch.device("cuda", 0), dtype=torch.float16, **options)


def test_what_is_counted(checkpoint: Path) -> None:
    model, config = models.build("llama"), read_config(checkpoint)
    assert memory.elements(checkpoint) == sum(p.numel() for p in model.parameters())
    assert memory.cache_elements(config) == 2 * config.num_hidden_layers * config.num_key_value_heads * 8


def test_a_model_that_fits(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _check(checkpoint, monkeypatch, [2.0])


def test_too_long_a_context_is_told_what_would_fit(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        NotEnoughMemory, match=r"m needs .* GiB for 2 slots of 10000000 tokens; .*context=\d+ would fit"
    ):
        _check(checkpoint, monkeypatch, [2.0], context=10**7)


def test_too_large_a_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotEnoughMemory, match=r"free are 0\.0 GiB; expected a smaller model, or a larger GPU"):
        _check(checkpoint, monkeypatch, [1.5])


def test_several_gpus_hold_what_one_does_not(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_spec", lambda _name: object())
    assert _check(checkpoint, monkeypatch, [1.5, 3.0])
    assert _check(checkpoint, monkeypatch, [3.0, 3.0], spread=True)
    monkeypatch.setattr(memory, "find_spec", lambda _name: None)
    with pytest.raises(NotEnoughMemory, match="pip install accelerate"):
        _check(checkpoint, monkeypatch, [1.5, 3.0])
