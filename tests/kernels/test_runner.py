"""A whole model by the kernels: transformers' own logits, and the same bits in any company."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.kernels.pages import PAGE
from specdec.models import families, loading
from specdec.models import pages as paging
from specdec.models.base import DECODE_ROWS, Batch, Model, Pass
from specdec.models.eager import model as eager
from specdec.models.eager.attention import SingleRow
from specdec.models.graphs import Graphs
from specdec.models.triton.model import TritonModel
from specdec.models.weights.checkpoint import Safetensors, read_config
from specdec.types.load import KvDtype
from tests.kernels.bits import same_bits
from tests.models import models
from tests.models.models import tokens
from tests.models.test_features import as_they_come

LAYERS = 2
KINDS = ("llama-llama3", "qwen2", "qwen3", "mistral-window")


class Here:
    """A model spoken to from the CPU."""

    def __init__(self, inner: Model) -> None:
        self.inner, self.info, self.state = inner, inner.info, inner.state
        self.device, self.ends = inner.device, inner.ends

    def run(self, batch: Batch) -> Pass:
        found = self.inner.run(replace(batch, tokens=batch.tokens.to(self.info.device)))
        return Pass(found.logits.cpu(), None if found.features is None else found.features.cpu())

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        self.inner.warm_up(features)

    def prepare(self) -> bool:
        return self.inner.prepare()


def load(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    slots: int = 3,
    context: int = 64,
    page: int = 16,
    kv_dtype: KvDtype = "auto",
) -> TritonModel:
    family = families.describe(read_config(folder))
    assert family is not None
    inner = eager.load(
        Safetensors(folder), family, name="tiny", device=device, dtype=dtype, context=context, slots=slots
    )
    return TritonModel(inner, Graphs(capture=device.type == "cuda"), page=page, kv_dtype=kv_dtype)


def saved(kind: str, folder: Path) -> Any:
    """A tiny model with heads that tensor cores take. Two layers: the interpreter takes its time."""
    name, changes = models.LLAMA_FAMILY[kind]
    shape = {"head_dim": 32, "num_hidden_layers": LAYERS}
    models.LLAMA_FAMILY["wide"] = models.KINDS["wide"] = (name, {**changes, **shape})
    model = models.build("wide")
    models.save(model, folder)
    return model


def test_a_batch_has_transformers_own_logits(tmp_path: Path, device: torch.device) -> None:
    """Two rows at different places, a few tokens each, behind prompts of their own."""
    model = saved("qwen3", tmp_path)
    runner, ids = Here(load(tmp_path, device)), tokens(2, 9)
    truth = models.full(model, ids)
    for row, start in enumerate((6, 3)):
        runner.run(Batch(ids[row : row + 1, :start], [2 - row], [0], 0))
    found = runner.run(Batch(torch.stack([ids[0, 6:9], ids[1, 3:6]]), [2, 1], [6, 3], 3)).logits
    models.close(found, torch.stack([truth[0, 6:9], truth[1, 3:6]]))


def test_a_slot_is_no_longer_than_its_pages(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory is short; more pages than slots can fill, and as many again for what they leave, are never made."""
    saved("llama-llama3", tmp_path)
    monkeypatch.setattr(loading, "_no_kernels", lambda _: None)
    model, page = load(tmp_path, device, slots=2, context=300), 2 * LAYERS * 2 * PAGE * 32 * 4
    short = 2 * PAGE - DECODE_ROWS
    for room, share, sure, pages, context in (
        (2.5 * page, 1.0, 0, 2, short),
        (math.inf, 1.0, 0, 12, 300),
        (math.inf, 0.5, 0, 12, 300),
        (5 * page, 0.5, 0, 2, short),
        (5 * page, 0.0, 0, 1, PAGE - DECODE_ROWS),
        (9 * page, 0.5, 2, 6, 300),  # all that two slots take
        (5 * page, 0.5, 2, 5, 300),  # as much of that as there is
    ):
        found = loading.with_kernels(model.inner, room, share=share, sure=sure)
        assert isinstance(found, TritonModel)
        assert found.pages.page_bytes == page
        assert (found.pages.count, found.info.context) == (1 + pages, context)
        assert found.info.shortened == (context < 300)


@pytest.mark.slow
def test_a_window_takes_few_pages(tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt longer than all pages together: those behind the window were given back."""
    monkeypatch.setattr(paging, "_BACK", 0)
    monkeypatch.setattr(paging, "_AHEAD", 16)
    reference, ids = saved("mistral-window", tmp_path), tokens(1, 64)
    inner = load(tmp_path, device, slots=1, context=70).inner
    model = TritonModel(inner, Graphs(capture=device.type == "cuda"), pages=3, page=16)
    assert model.info.context == 70
    found = [Here(model).run(Batch(ids[:, at : at + 16], [0], [at], 16)).logits for at in range(0, 64, 16)]
    models.close(torch.cat(found, 1), models.full(reference, ids))


def test_keys_and_values_in_fp8(tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in fp32 with pages in fp8 says what the same model does in torch, its keys and values rounded."""
    saved("qwen3", tmp_path)
    model, ids = load(tmp_path, device, slots=1, kv_dtype="fp8"), tokens(1, 24)
    assert model.info.kv_dtype == "fp8"
    family = model.inner.family
    numbers = 2 * family.layers * family.kv_heads * 16 * family.head_dim  # of a page, and each takes a byte
    assert model.pages.pool.nbytes / model.pages.count == model.pages.page_bytes == numbers
    found = Here(model).run(Batch(ids, [0], [0], 24)).logits
    truth, attend = Here(model.inner).run(Batch(ids, [0], [0], 24)).logits, SingleRow.attend

    def rounded(row: SingleRow, index: int, queries: Tensor, *new: Tensor) -> Tensor:
        keys, values = (x.to(torch.float8_e4m3fn).to(x.dtype) for x in new)
        return attend(row, index, queries, keys, values)

    monkeypatch.setattr(SingleRow, "attend", rounded)
    wanted = Here(model.inner).run(Batch(ids, [0], [0], 24)).logits
    bound = 0.01 if device.type == "cuda" else 4.0  # the interpreter does not carry when it rounds to fp8
    assert (found - wanted).abs().mean() < bound * (truth - wanted).abs().mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_own_logits(kind: str, tmp_path: Path, device: torch.device) -> None:
    model = saved(kind, tmp_path)
    runner: Model = Here(load(tmp_path, device))
    for check in models.ALL_CHECKS:
        check(runner, model)


@pytest.mark.parametrize(
    ("kind", "kv_dtype"),
    [("qwen3", "auto"), ("qwen2", "fp8"), pytest.param("llama-llama3", "auto", marks=pytest.mark.slow)],
)
def test_the_same_bits_in_any_company(kind: str, kv_dtype: KvDtype, tmp_path: Path, device: torch.device) -> None:
    """A token alone, among four, in another slot, in a batch, and behind a prompt that was cut elsewhere."""
    saved(kind, tmp_path)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float16
    runner = Here(load(tmp_path, device, dtype, kv_dtype=kv_dtype))
    ids = tokens(1, 18)  # a page ends among the last four
    runner.run(Batch(ids[:, :14], [0], [0], 0))
    together = runner.run(Batch(ids[:, 14:], [0], [14], 4)).logits
    alone = [runner.run(Batch(ids[:, at : at + 1], [0], [at], 1)).logits for at in range(14, 18)]
    assert same_bits(torch.cat(alone, 1), together)
    runner.run(Batch(ids[:, :11], [1], [0], 0))
    runner.run(Batch(ids[:, 11:14], [1], [11], 0))
    other = tokens(1, 9, seed=9)
    runner.run(Batch(other[:, :5], [2], [0], 0))
    batch = runner.run(Batch(torch.cat([other[:, 5:], ids[:, 14:]]), [2, 1], [5, 14], 4)).logits
    assert same_bits(batch[1:], together)


@pytest.mark.parametrize("kind", ["qwen3", pytest.param("llama-llama3", marks=pytest.mark.slow)])
def test_features_are_transformers_hidden_states(kind: str, tmp_path: Path, device: torch.device) -> None:
    reference = saved(kind, tmp_path)
    model = load(tmp_path, device)
    with torch.inference_mode():
        as_they_come(Here(model), reference, tuple(range(1 + LAYERS)), bound=2e-3)
