"""Memory is planned before a training begins."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, Qwen3Config

from specdec.errors import NotEnoughMemory
from specdec.models import families, memory
from specdec.training.initial import TargetFacts, default_layers, parameters_of
from specdec.training.memory import MemoryNeeds, MemoryPlan, plan
from specdec.training.options import TrainingOptions

GIB = 2**30
GPU = torch.device("cuda")


def planned(
    gib: float, weights: float, monkeypatch: pytest.MonkeyPatch, *, fixed: bool = False, small: bool = False
) -> MemoryPlan:
    """For a target of the 8B shape, or of an eighth of its width, whose weights take so many GiB."""
    less = 8 if small else 1
    config = Qwen3Config(
        hidden_size=4096 // less, intermediate_size=12288 // less, num_hidden_layers=36,
        num_attention_heads=32 // less, num_key_value_heads=8 // less, head_dim=128, vocab_size=151_936,
    )  # fmt: skip
    options = TrainingOptions(target="8B", out=Path("head"))
    facts = TargetFacts("8B", Path(), config, 0)
    parameters = partial(parameters_of, facts, options)
    needs = MemoryNeeds(facts, parameters, 1, options.length, GPU, torch.bfloat16)
    monkeypatch.setattr(memory, "weight_bytes", lambda *given, **more: int(weights * GIB))
    return plan(needs, default_layers("dflash", 36), gib * GIB, fixed=fixed)


def test_less_is_done_at_once_and_then_with_fewer_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = planned(140, 15.3, monkeypatch), planned(24, 5, monkeypatch)
    assert large.layers == 5 and large.slots > 1
    assert small.layers < 5 and small.slots < large.slots
    assert small.needed <= 24 * GIB and f"{small.layers} layers (5 do not fit)" in str(small)
    assert small.slots >= 8 > small.texts, "answers take little memory, and are most of the time"


def test_a_small_target_answers_more_than_a_step_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """First fewer answers at once, then fewer texts a step, then fewer layers."""
    plans: list[MemoryPlan] = []
    for gib in range(140, 2, -6):
        with contextlib.suppress(NotEnoughMemory):
            plans.append(planned(gib, 1, monkeypatch, small=True))
    steps = [(one.layers, one.texts, one.slots) for one in plans]
    assert steps[0] == (5, 128, 256) and plans[0].rows == 16_384
    assert steps == sorted(steps, reverse=True)
    assert {slots for layers, texts, slots in steps if (layers, texts) == (5, 128)} == {256, 128, 64}
    assert {texts for layers, texts, _ in steps if layers == 5} > {128, 64}
    for one in plans:
        assert one.needed <= one.free and one.texts <= min(128, 2 * one.slots)
        assert one.slots <= 64 or one.room >= 0.4 * one.free
        assert str(one).endswith(f"{one.texts} texts a step, {one.slots} answers at once")


def test_a_small_model_of_every_family_can_be_built() -> None:
    sizes = {"hidden_size": 384, "intermediate_size": 1024, "num_attention_heads": 6, "num_key_value_heads": 2}
    for kind in families.FAMILIES:
        config = AutoConfig.for_model(kind, num_hidden_layers=8, vocab_size=8192, head_dim=64, **sizes)
        options = TrainingOptions(target="t", out=Path("head"), kind="model")
        assert 0 < parameters_of(TargetFacts("t", Path(), config, 0), options, 2) < memory.parameters(config) / 2


def test_what_does_not_fit_is_said_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotEnoughMemory, match=r"at least .* GiB; free are 24\.0 GiB .* one in 4 bits"):
        planned(24, 15.3, monkeypatch, fixed=True)
