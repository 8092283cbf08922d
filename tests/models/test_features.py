"""Features are transformers' own hidden states, however the tokens come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.models.base import Batch, Model
from specdec.models.loading import load_model
from tests.models import models
from tests.models.models import tokens

KINDS = ("llama", "qwen2", "qwen3", "mistral-window", "gpt2", "gemma2-window", "mixtral", *models.HYBRID)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def hidden(model: Any, ids: Tensor, layers: tuple[int, ...]) -> Tensor:
    """transformers' outputs of these layers, side by side."""
    states = model(ids, use_cache=False, output_hidden_states=True).hidden_states
    return torch.cat([states[layer] for layer in layers], -1)


def as_they_come(model: Model, reference: Any, layers: tuple[int, ...], bound: float = 1e-4) -> None:
    """Prompt chunks, a known prefix in another slot, and drafts of which a part is accepted."""
    ids = tokens(1, 40)
    truth = hidden(reference, ids, layers)

    def check(slot: int, start: int, block: Tensor, right: int, keep: int) -> None:
        found = model.run(Batch(block, [slot], [start], keep, layers)).features
        assert found is not None
        assert found.shape[:2] == block.shape
        assert float((found[:, :right] - truth[:, start : start + right]).abs().max()) <= bound * float(
            truth.abs().max()
        )

    model.state.prefixes.limit = 1 << 24
    model.state.begin(0, ids[0].tolist())
    check(0, 0, ids[:, :13], 13, 0)
    check(0, 13, ids[:, 13:20], 7, 1)
    model.state.commit(0, 20)
    model.state.save(0)
    start = 20
    for accepted in (0, 3, 1, 4):
        block = ids[:, start : start + 5].clone()
        block[:, accepted + 1 :] = 5  # rejected
        check(0, start, block, accepted + 1, 5)
        start += accepted + 1
    reached = model.state.begin(2, ids[0].tolist())
    assert reached >= 13
    check(2, reached, ids[:, reached : reached + 6], 6, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states(kind: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    last = reference.config.num_hidden_layers
    model = load_model(models.save(reference, tmp_path), device="cpu", context=64, slots=3)
    as_they_come(model, reference, (0, 1, last - 1, last))


def test_rows_side_by_side(tmp_path: Path) -> None:
    reference, ids = models.build("qwen3"), tokens(2, 12)
    model = load_model(models.save(reference, tmp_path), device="cpu", context=64, slots=3)
    found = model.run(Batch(ids, [2, 0], [0, 0], 1, (1, 3))).features
    assert found is not None
    torch.testing.assert_close(found, hidden(reference, ids, (1, 3)), rtol=1e-4, atol=1e-4)
    assert model.run(Batch(ids, [2, 0], [0, 0], 1)).features is None
