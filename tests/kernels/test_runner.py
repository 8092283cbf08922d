"""A whole model by the kernels: transformers' own logits, and the same bits in any company."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.models.eager import model as llama
from specdec.models.base import Runner
from specdec.models.weights.checkpoint import Weights, read_config
from specdec.models.triton.model import CudaRunner
from specdec.models.graphs import Graphs
from tests.kernels.bits import same_bits
from tests.models import models
from tests.models.models import tokens

KINDS = ("llama-llama3", "qwen2", "qwen3", "mistral-window")


class Here:
    """A runner spoken to from the CPU."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.info = inner, inner.info

    def forward(self, ids: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        found: Tensor = self.inner.forward(ids.to(self.info.device), slots, starts, keep)
        return found.cpu()

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        views: tuple[Tensor, ...] = self.inner.keys_values(slot, start, end)
        return views


def load(
    folder: Path, device: torch.device, dtype: torch.dtype = torch.float32, slots: int = 3
) -> CudaRunner:
    weights = Weights(folder)
    inner = llama.load(
        weights, read_config(folder), name="tiny", device=device, dtype=dtype, context=64, slots=slots, spare=1
    )  # fmt: skip
    return CudaRunner(inner, Graphs(capture=device.type == "cuda"))


def saved(kind: str, folder: Path) -> Any:
    """A tiny model with heads that tensor cores take."""
    name, changes = models.LLAMA_FAMILY[kind]
    models.LLAMA_FAMILY["wide"] = models.KINDS["wide"] = (name, {**changes, "head_dim": 32})
    model = models.build("wide")
    models.save(model, folder)
    return model


def test_a_batch_has_transformers_own_logits(tmp_path: Path, device: torch.device) -> None:
    """Two rows at different places, a few tokens each, behind prompts of their own."""
    model = saved("qwen3", tmp_path)
    runner, ids = Here(load(tmp_path, device)), tokens(2, 9)
    truth = models.full(model, ids)
    for row, start in enumerate((6, 3)):
        runner.forward(ids[row : row + 1, :start], [2 - row], [0], 0)
    found = runner.forward(torch.stack([ids[0, 6:9], ids[1, 3:6]]), [2, 1], [6, 3], 3)
    models.close(found, torch.stack([truth[0, 6:9], truth[1, 3:6]]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_own_logits(kind: str, tmp_path: Path, device: torch.device) -> None:
    model = saved(kind, tmp_path)
    runner: Runner = Here(load(tmp_path, device))
    for check in models.ALL_CHECKS:
        check(runner, model)


@pytest.mark.parametrize("kind", ["qwen3", pytest.param("llama-llama3", marks=pytest.mark.slow)])
def test_the_same_bits_in_any_company(kind: str, tmp_path: Path, device: torch.device) -> None:
    """A token alone, among four, in another slot, in a batch, and behind a prompt that was cut elsewhere."""
    saved(kind, tmp_path)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float16
    runner = Here(load(tmp_path, device, dtype))
    ids = tokens(1, 24)
    runner.forward(ids[:, :20], [0], [0], 0)
    together = runner.forward(ids[:, 20:], [0], [20], 4)
    alone = [runner.forward(ids[:, at : at + 1], [0], [at], 1) for at in range(20, 24)]
    assert same_bits(torch.cat(alone, 1), together)
    runner.forward(ids[:, :17], [1], [0], 0)
    runner.forward(ids[:, 17:20], [1], [17], 0)
    other = tokens(1, 40, seed=9)
    runner.forward(other[:, :10], [2], [0], 0)
    batch = runner.forward(torch.cat([other[:, 10:14], ids[:, 20:]]), [2, 1], [10, 20], 4)
    assert same_bits(batch[1:], together)
