"""On several GPUs: a target spread over them writes what it writes on one, and is spread by itself where it must be."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import specdec
from specdec.bench.prompts import built_in
from specdec.bundled import path as bundled
from specdec.engine import Engine
from specdec.errors import NotEnoughMemory
from specdec.models.base import Batch
from specdec.models.loading import load_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")]

PROMPTS = [p.messages for p in built_in()[:6]]
GIB = 2**30


def _engine(device: str, **options: Any) -> Engine:
    return specdec.load(device=device, dtype="float32", slots=4, prefix_cache_bytes=0, **options)


def _texts(engine: Engine, speculative: Any, together: int = 1, temperature: float = 0.0) -> list[tuple[int, ...]]:
    def one(messages: Any) -> tuple[int, ...]:
        return engine.generate(
            messages, max_tokens=64, seed=5, temperature=temperature, speculative=speculative
        ).token_ids

    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(one, PROMPTS))


@pytest.fixture(scope="module")
def spread() -> Iterator[Engine]:
    with _engine("cuda:all") as engine:
        yield engine


def test_layers_lie_on_all_gpus() -> None:
    model: Any = load_model(bundled("target"), device="cuda:all", dtype="float32", context=64)
    assert {p.device.index for p in model.model.parameters()} == set(range(torch.cuda.device_count()))


def test_text_of_one_gpu(spread: Engine) -> None:
    with _engine("cuda:0") as one:
        assert _texts(spread, "off") == _texts(one, "off")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("speculative", "together"), [(3, 1), ("auto", 1), ("auto", 4), ("off", 4)])
def test_one_text(spread: Engine, speculative: Any, together: int, temperature: float) -> None:
    assert _texts(spread, speculative, together, temperature) == _texts(spread, "off", 1, temperature)


def _fill(device: int, left: float) -> torch.Tensor:
    free = torch.cuda.mem_get_info(device)[0]
    return torch.empty(int(free - left * GIB), dtype=torch.uint8, device=f"cuda:{device}")


def test_spreads_where_one_is_too_full() -> None:
    torch.cuda.empty_cache()
    taken = _fill(0, 1.7)
    try:
        # 64 slots of 2048 tokens take more than the 0.2 GiB that are left on the first
        model: Any = load_model(bundled("target"), device="cuda:0", dtype="float32", slots=64, context=2048)
        tokens = torch.arange(3, 11, device="cuda:0").unsqueeze(0)
        with torch.inference_mode():
            assert model.run(Batch(tokens, [63], [0], 1)).logits.isfinite().all()
        assert model.info.backend == "transformers"
    finally:
        del taken
        torch.cuda.empty_cache()


def test_says_what_would_fit() -> None:
    torch.cuda.empty_cache()
    taken = [_fill(i, 1.6) for i in range(torch.cuda.device_count())]
    try:
        with pytest.raises(NotEnoughMemory, match=r"needs .* GiB for weights .* free are .* would fit"):
            load_model(bundled("target"), device="cuda:0", dtype="float32", slots=64, context=2048)
    finally:
        taken.clear()
        torch.cuda.empty_cache()
