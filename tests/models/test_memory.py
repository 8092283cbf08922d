"""Whether a model fits is known before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.errors import NotEnoughMemory
from specdec.models import loading, memory
from specdec.models.loading import foretold
from specdec.models.weights.checkpoint import read_config
from specdec.models.weights.export import export
from specdec.types.load import Quantize
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
    numbers = sum(p.numel() for p in model.parameters())
    assert memory.weight_bytes(checkpoint, config, torch.float16) == 2 * numbers
    assert memory.parameters(config) == pytest.approx(numbers, rel=0.02)  # but for norms
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


def test_pages_leave_room_for_a_model_beside(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both get pages for as many tokens."""
    config, device = read_config(checkpoint), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(2.5 * GIB), 0))
    alone = memory.pool_bytes(config, device, torch.float16, None)
    assert 0.9 * GIB < alone < GIB
    shared = memory.pool_bytes(config, device, torch.float16, (checkpoint, config))
    assert 2 * shared == pytest.approx(alone - memory.weight_bytes(checkpoint, config, torch.float16))


def test_several_gpus_hold_what_one_does_not(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_spec", lambda _name: object())
    assert _check(checkpoint, monkeypatch, [1.5, 3.0])
    assert _check(checkpoint, monkeypatch, [3.0, 3.0], spread=True)
    monkeypatch.setattr(memory, "find_spec", lambda _name: None)
    with pytest.raises(NotEnoughMemory, match="pip install accelerate"):
        _check(checkpoint, monkeypatch, [1.5, 3.0])


def test_what_would_fit_in_fewer_bits(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose weights fit only when they are rounded is told so."""
    config = read_config(checkpoint)
    whole = memory.weight_bytes(checkpoint, config, torch.float16)
    eight, four = (memory.weight_bytes(checkpoint, config, torch.float16, to) for to in ("int8", "int4"))
    assert four < eight < whole
    assert memory.weight_bytes(checkpoint, config, torch.float16, "int4", head=True) < four
    free = 1.5 + (eight + whole) / 2 / GIB
    with pytest.raises(NotEnoughMemory, match="quantize='int8' would fit"):
        _check(checkpoint, monkeypatch, [free], context=16, slots=1)
    assert not _check(checkpoint, monkeypatch, [free], context=16, slots=1, quantize="int8")


def test_what_would_fit_with_keys_in_fp8(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, context = read_config(checkpoint), 10**6
    token = 2 * 2 * memory.cache_elements(config)  # two slots, two bytes
    free = 1.5 + 0.75 * context * token / GIB
    with pytest.raises(NotEnoughMemory, match=r"context=\d+ or kv_dtype='fp8' would fit"):
        _check(checkpoint, monkeypatch, [free], context=context)
    assert not _check(checkpoint, monkeypatch, [free], context=context, kv_dtype="fp8")


@pytest.mark.parametrize("to", ["int4", "int8", "fp8"])
def test_what_is_foretold_is_what_is_written(to: Quantize, tmp_path: Path) -> None:
    source = models.save(models.build("llama"), tmp_path / "source")
    export(source, tmp_path / "there", to, head=False, device=torch.device("cpu"))
    config = read_config(tmp_path / "there")
    stored = memory.weight_bytes(tmp_path / "there", config, torch.float32)
    assert stored == pytest.approx(memory.weight_bytes(source, read_config(source), torch.float32, to), rel=0.1)


def test_foretelling_without_a_gpu(checkpoint: Path) -> None:
    found = foretold(checkpoint, device="cpu", context=32, slots=2)
    assert list(found) == ["float32"]
    assert found["float32"].cache == 32 * 2 * 4 * memory.cache_elements(read_config(checkpoint))
    assert found["float32"].spare == 0


def test_foretelling_each_choice(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of weights, and of keys and values."""
    monkeypatch.setattr(loading, "pick_device", lambda _: torch.device("cuda", 0))
    found = foretold(checkpoint, dtype="float16", context=32, slots=2)
    assert list(found)[:3] == ["float16", "float16, keys and values in fp8", "int4"]
    assert len(found) == 8
    whole, half = found["int4"], found["int4, keys and values in fp8"]
    assert (whole.weights, whole.cache) == (half.weights, 2 * half.cache)
