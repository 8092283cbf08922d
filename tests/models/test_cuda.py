"""The same on a GPU: exact, in 16 bit as near as transformers, and never waiting for the device inside a pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.models.base import Batch, Model
from specdec.models.loading import load_model
from tests.kernels.test_runner import Here
from tests.models import models
from tests.models.models import full, tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:decoding .* without kernels"),  # heads this small are torch's
]


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def _load(model: Any, folder: Path, dtype: str) -> Model:
    return load_model(models.save(model, folder), device="cuda", dtype=dtype, context=64, slots=3)


@pytest.mark.parametrize("kind", ["llama-llama3", "mistral-window", "qwen2-window", "qwen3", "gpt2", "gemma2-window"])
def test_exact(kind: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    model: Any = Here(_load(reference, tmp_path, "float32"))
    for check in models.ALL_CHECKS:
        check(model, reference)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_sixteen_bit_is_as_near_as_transformers(kind: str, dtype: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    model, ids = _load(reference, tmp_path, dtype), tokens(1, 20)
    truth = full(reference, ids)
    theirs = full(reference.to("cuda", getattr(torch, dtype)), ids.cuda()).cpu()
    found = torch.cat(
        [model.run(Batch(ids[:, a:b].cuda(), [1], [a], b - a)).logits.cpu() for a, b in ((0, 14), (14, 15), (15, 20))],
        1,
    )
    assert (found - truth).abs().mean() < 1.3 * (theirs - truth).abs().mean()


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_pass_does_not_wait(tmp_path: Path) -> None:
    model, ids = _load(models.build("llama"), tmp_path, "bfloat16"), tokens(3, 5).cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for rows, count in ((1, 1), (1, 5), (2, 5), (3, 1)):
            slots = [2, 0, 1][:rows]
            model.run(Batch(ids[:rows, :count], slots, [7, 3, 4][:rows], count))
    finally:
        torch.cuda.set_sync_debug_mode("default")
