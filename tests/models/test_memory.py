"""Whether a model fits is known before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.errors import NotEnoughMemory
from specdec.models import loading, memory
from specdec.models.base import ModelOptions
from specdec.models.llamacpp import loading as llamacpp
from specdec.models.loading import foretold, load_model
from specdec.models.weights import few_bits
from specdec.models.weights.checkpoint import read_config
from specdec.models.weights.export import export
from specdec.types.load import Quantize
from tests import gguf_files
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


def _hold(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _device: free)


@pytest.mark.parametrize("tied", [False, True])
def test_a_cpu_holds_what_was_foretold(tied: bool, tmp_path: Path) -> None:
    folder = models.save(models.large(tie_word_embeddings=tied), tmp_path)
    found, loaded = foretold(folder, device="cpu")["float32"], load_model(folder, device="cpu").info
    assert found.weights == loaded.weight_bytes
    assert found.cache == pytest.approx(loaded.cache_bytes, rel=0.01)


def test_a_cpu_refuses_what_it_cannot_hold(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(checkpoint)
    weights, token = memory.weight_bytes(checkpoint, config, torch.float32), 2 * 4 * memory.cache_elements(config)
    _hold(monkeypatch, weights + 40 * token)
    expected = r"needs .* GiB for weights and .* GiB for 2 slots of 64 tokens; free are .* GiB; context=40 or "
    with pytest.raises(NotEnoughMemory, match=expected):
        load_model(checkpoint, device="cpu", context=64, slots=2)
    assert load_model(checkpoint, device="cpu", context=40, slots=2).info.context == 40
    _hold(monkeypatch, weights / 10)
    with pytest.raises(NotEnoughMemory, match="expected a smaller model, or a GGUF file in few bits"):
        load_model(checkpoint, device="cpu", context=8)


def test_a_context_that_nobody_named_is_what_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models.save(models.large(), tmp_path)
    known = foretold(folder, device="cpu")["float32"]
    _hold(monkeypatch, known.weights + known.cache / 2)
    info = load_model(folder, device="cpu").info
    assert (info.context, info.shortened) == (2048, True)
    assert info.longer == "as much as the memory left holds; smaller weights or no draft model would leave more"
    _hold(monkeypatch, 2 * known.weights + known.cache)
    assert load_model(folder, device="cpu", beside=folder).info.context == 2048


def test_few_bits_stay_where_plain_ones_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is faster; and what cannot stay is refused, not made plain."""
    folder = models.save(models.large(), tmp_path / "plain")
    export(folder, tmp_path / "int4", "int4", head=False, device=torch.device("cpu"))
    export(folder, tmp_path / "fp8", "fp8", head=False, device=torch.device("cpu"))
    monkeypatch.setattr(few_bits, "_faster", lambda *_: False)
    assert load_model(tmp_path / "int4", device="cpu", context=16).info.weight_format.startswith("float32")
    _hold(monkeypatch, foretold(folder, device="cpu", context=16)["float32"].held / 2)
    with pytest.raises(NotEnoughMemory, match="quantize='int8' would fit"):
        load_model(folder, device="cpu", context=16)
    held: list[tuple[Path, Quantize | None]] = [(folder, "int4"), (folder, "int8"), (tmp_path / "int4", None)]
    for path, to in held:
        found = load_model(path, device="cpu", context=16, quantize=to).info
        assert found.weight_format.startswith(to or "int4"), found
        options = ModelOptions(name="", device=found.device, dtype=found.dtype, context=16, slots=1)
        told = memory.needs(path, read_config(path), to, plain=False, **options)
        assert told.weights == pytest.approx(found.weight_bytes, rel=0.01)
    refused: list[tuple[Path, Quantize | None]] = [(folder, "fp8"), (tmp_path / "fp8", None)]
    for path, to in refused:
        with pytest.raises(NotEnoughMemory, match=r"needs .* GiB for weights and .* for 1 slot of 16 tokens"):
            load_model(path, device="cpu", context=16, quantize=to)


def test_a_file_that_llamacpp_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf_files.write(models.wide(), tmp_path / "tiny.gguf")
    _hold(monkeypatch, 1000)
    with pytest.raises(NotEnoughMemory, match=r"tiny needs .* GiB for weights .* expected .* a file in fewer bits"):
        llamacpp.load(tmp_path / "tiny.gguf", name="tiny", context=64, slots=1, known=64, less=True)


def test_a_container_has_less_than_its_machine(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("1:memory:/elsewhere\n0::/service\n")
    group = tmp_path / "service"
    group.mkdir()
    assert memory.granted(tmp_path, tmp_path / "own") == float("inf")
    (group / "memory.stat").write_text("anon 500\nactive_file 20\ninactive_file 30\n")
    (group / "memory.current").write_text("600\n")
    for limit, left in (("1000", 450), ("400", 0), ("max", float("inf"))):
        (group / "memory.max").write_text(limit + "\n")
        assert memory.granted(tmp_path, tmp_path / "own") == left


def test_layers_without_keys_take_no_cache() -> None:
    whole, hybrid = (models.build(kind).config for kind in ("qwen3", "qwen3.5"))
    assert memory.cache_elements(whole) / 3 == 2 * memory.cache_elements(hybrid)  # one of three, its heads half as long


def test_foretelling_without_a_gpu(checkpoint: Path) -> None:
    found = foretold(checkpoint, device="cpu", context=32, slots=2)
    assert list(found) == ["float32", "int4, where it is kept so", "int8, where it is kept so"]
    assert found["int4, where it is kept so"].weights < found["float32"].weights
    assert found["float32"].cache == 32 * 2 * 4 * memory.cache_elements(read_config(checkpoint))
    assert found["float32"].spare == 0


def test_a_context_that_was_asked_for_may_grow(checkpoint: Path) -> None:
    info = load_model(checkpoint, device="cpu", context=64).info
    assert info.longer == f"the model goes up to {models.CONTEXT}; a larger context at load holds more"
    assert load_model(checkpoint, device="cpu").info.longer == ""


def test_foretelling_each_choice(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of weights, and of keys and values; on a GPU for all positions of the model."""
    monkeypatch.setattr(loading, "pick_device", lambda _: torch.device("cuda", 0))
    found = foretold(checkpoint, dtype="float16", context=32, slots=2)
    assert list(found)[:3] == ["float16", "float16, kv fp8", "int4"]
    assert len(found) == 8
    whole, half = found["int4"], found["int4, kv fp8"]
    assert (whole.weights, whole.cache) == (half.weights, 2 * half.cache)
    monkeypatch.setattr(loading, "DEFAULT_CONTEXT", 50)
    assert foretold(checkpoint, dtype="float16")["int4"].context == models.CONTEXT
    assert foretold(checkpoint, device=torch.device("cpu"))["float32"].context == 50
