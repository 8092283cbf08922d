"""Every model gives the logits of transformers' own full pass, whatever way the tokens come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.models import families
from specdec.models.base import Batch, Model
from specdec.models.eager import attention
from specdec.models.eager import model as eager
from specdec.models.eager.model import EagerModel
from specdec.models.families import llama
from specdec.models.loading import load_model
from specdec.models.transformers.model import TransformersModel
from specdec.models.transformers.recurrent import RecurrentModel
from tests.models import models
from tests.models.models import close, full, tokens


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def _load(model: Any, folder: Path) -> Model:
    return load_model(models.save(model, folder), device="cpu", context=64, slots=3)


def _check(model: Model, reference: Any) -> None:
    for check in models.ALL_CHECKS:
        check(model, reference)


@pytest.mark.parametrize("kind", models.LLAMA_FAMILY)
def test_llama_family(kind: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    model = _load(reference, tmp_path)
    assert isinstance(model, EagerModel)
    _check(model, reference)


@pytest.mark.parametrize("kind", ["llama-linear", "llama-dynamic", "llama-llama3", "llama-yarn"])
def test_positions_beyond_those_that_were_trained(kind: str, tmp_path: Path) -> None:
    """In two chunks, up to the last position."""
    reference, ids = models.build(kind), tokens(1, models.CONTEXT)
    model = load_model(models.save(reference, tmp_path), device="cpu")
    assert model.info.context == models.CONTEXT
    found = [model.run(Batch(ids[:, a:b], [0], [a], b - a)).logits for a, b in ((0, 40), (40, models.CONTEXT))]
    models.close(torch.cat(found, 1), full(reference, ids))


@pytest.mark.parametrize("context", [20, models.CONTEXT])
def test_longrope_has_one_kind_of_frequencies_for_a_context(
    context: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of sequences as long as a slot may hold, however short its own, its chunks and its neighbours are."""
    factors = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 5.0, 8.0]}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **factors}
    sizes = {"head_dim": 8, "original_max_position_embeddings": 24, "rope_parameters": rope}
    monkeypatch.setitem(models.KINDS, "phi3-longrope", ("Phi3", sizes))
    reference, ids = models.build("phi3-longrope"), tokens(2, context)
    model = load_model(models.save(reference, tmp_path), device="cpu", context=context, slots=2)
    truth = full(reference, ids)
    model.run(Batch(ids[:1, : context - 4], [1], [0], 0))
    for at in range(0, 16, 2):
        alone = model.run(Batch(ids[1:, at : at + 1], [0], [at], 1)).logits
        models.close(alone[0], truth[1, at : at + 1])
        rows = torch.stack([ids[0, context - 4 : context - 2], ids[1, at : at + 2]])
        models.close(model.run(Batch(rows, [1, 0], [context - 4, at], 2)).logits[1], truth[1, at : at + 2])
    padded = torch.cat((ids[:1, -2:], tokens(1, 9)), 1)
    models.close(model.run(Batch(padded, [1], [context - 2], 11)).logits[:, :2], truth[:1, -2:])


def test_yarn_says_how_far_it_reaches(tmp_path: Path) -> None:
    """A config often keeps the trained length beside it."""
    reference = models.build("llama-yarn")
    reference.config.max_position_embeddings = 30
    assert load_model(models.save(reference, tmp_path), device="cpu").info.context == 24 * 4


@pytest.mark.parametrize("kind", ["mistral-window", "qwen3"])
def test_long_passes_run_in_pieces(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "LONGEST", 23)
    monkeypatch.setattr(attention, "TILE", 5)
    reference = models.build(kind)
    _check(_load(reference, tmp_path), reference)


@pytest.mark.parametrize("kind", ["llama-tied-biased", "mistral-window", "qwen2-window", "qwen3"])
def test_llama_family_rows_one_by_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if reading what padding adds were dear, which it is for long and short answers together."""
    monkeypatch.setattr(attention, "CALL_BYTES", -1)
    model = models.build(kind)
    _check(_load(model, tmp_path), model)


@pytest.mark.parametrize("kind", ["llama-llama3", "mistral-window", "qwen2", "qwen3"])
def test_llama_family_through_transformers(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "FAMILIES", {})
    reference = models.build(kind)
    model = _load(reference, tmp_path)
    assert isinstance(model, TransformersModel)
    _check(model, reference)


def test_a_type_of_the_same_blocks_takes_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "seed_oss", llama.describe)
    monkeypatch.setitem(models.KINDS, "seed-oss", ("SeedOss", {"head_dim": 8, "attention_bias": True}))
    reference = models.build("seed-oss")
    model = _load(reference, tmp_path)
    assert isinstance(model, EagerModel)
    _check(model, reference)


@pytest.mark.parametrize("kind", models.OTHERS)
def test_other_architectures(kind: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    model = _load(reference, tmp_path)
    assert not isinstance(model, RecurrentModel)
    assert model.info.cache_bytes > 0
    _check(model, reference)


@pytest.mark.parametrize("kind", ["gpt2", "opt", "phi", "gemma", "mixtral"])
def test_rows_run_together_where_they_can(kind: str, tmp_path: Path) -> None:
    model = _load(models.build(kind), tmp_path)
    assert isinstance(model, TransformersModel)
    assert model.together_below > 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_padding_may_lie_beyond_the_last_position(kind: str, tmp_path: Path) -> None:
    """Drafts near the end of the context reach beyond it; what they give there is never looked at."""
    reference = models.build(kind)
    model = load_model(models.save(reference, tmp_path), device="cpu", slots=2)
    assert model.info.context == models.CONTEXT
    ids = tokens(1, models.CONTEXT)
    truth = full(reference, ids)
    start = models.CONTEXT - 2
    model.run(Batch(ids[:, :start], [1], [0], 0))
    block = torch.cat((ids[:, start:], tokens(1, 15)), 1)
    found = model.run(Batch(block, [1], [start], 17)).logits
    assert found.shape == (1, 17, models.VOCAB)
    close(found[:, :2], truth[:, -2:])
    with pytest.raises(ValueError, match="a slot holds"):
        model.run(Batch(block, [1], [models.CONTEXT + 1], 17))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
def test_sixteen_bit_stays_near(kind: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    folder = models.save(reference, tmp_path)
    model = load_model(folder, device="cpu", dtype="bfloat16", context=64)
    ids = tokens(1, 20)
    truth = full(reference, ids)
    found = torch.cat(
        (
            model.run(Batch(ids[:, :15], [0], [0], 15)).logits,
            model.run(Batch(ids[:, 15:], [0], [15], 5)).logits,
        ),
        1,
    )
    assert found.dtype == torch.float32
    assert float((found - truth).abs().mean() / truth.std()) < 0.05


def test_rows_attend_together_where_their_lengths_are_near(tmp_path: Path) -> None:
    model = _load(models.build("qwen3"), tmp_path)
    assert isinstance(model, EagerModel)
    cache = model.cache
    token = 2 * cache.tensor[0, 0, :, 0].nbytes
    far = attention.CALL_BYTES // token + 10
    assert cache._padding([0, 1], [far, far]) == 0
    assert cache._padding([0, 1], [far, 10]) == (far - 10) * token
    assert cache._padding([0, 2], [far, 10]) == (far - 10 + 2 * far) * token
    assert isinstance(cache.rows([0, 1], [20, 10], 2), attention.PaddedRows)
