"""Rounds on the device give the texts of rounds that the host leads, whatever drafts, alone or together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.decoding.speculation.controller import Controller
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import Drafter
from specdec.drafters.model import DraftModelDrafter
from specdec.errors import InvalidLogits
from specdec.models.base import Model
from specdec.models.loading import load_model
from specdec.models.triton.model import TritonModel
from specdec.text.tokenizer import Tokenizer
from specdec.types import LoadOptions
from tests.decoding.toy import byte_tokenizer
from tests.kernels.test_runner import load, saved
from tests.models import models

TOKENIZER = Tokenizer(byte_tokenizer())
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "drawn": {"temperature": 0.9, "seed": 4},
    "cut": {"temperature": 1.2, "seed": 5, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
}
MORE = (("greedy", "off"), ("greedy", 3), ("cut", "off"), ("cut", "auto"))
PROMPT = [5, 9, 17, 5, 9, 17, 5, 9]
COUNT = 40 if torch.cuda.is_available() else 7  # the interpreter takes its time


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    target, draft = tmp_path_factory.mktemp("target"), tmp_path_factory.mktemp("draft")
    model = saved("llama", target)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.03)  # a draft that is often right
    models.save(model, draft)
    return target, draft


def _guess(target: Model, drafters: Sequence[Drafter], controller: Controller) -> None:
    """Instead of timing passes, which takes the interpreter long: a pass costs one, a drafted token a fifth."""
    controller.verify_cost.observe(1, 1.0)
    for steps in (1, 10):
        controller.draft_costs.setdefault("model", CostCurve()).observe(steps, 0.2 * steps)


@pytest.fixture(scope="module", autouse=True)
def _uncalibrated() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("specdec.decoding.engine.calibrate", _guess)
        yield


@pytest.fixture(scope="module")
def fused(folders: tuple[Path, Path]) -> Iterator[LocalEngine]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    target, draft = (load(folder, device) for folder in folders)
    with assemble(
        LoadOptions("tiny", remember=0),
        target,
        DraftModelDrafter.over(draft, target),
        Tokenizer(byte_tokenizer()),
        eos_ids=frozenset(),
    ) as engine:
        yield engine


@pytest.fixture(scope="module")
def led(folders: tuple[Path, Path]) -> Iterator[LocalEngine]:
    runner = load_model(folders[0], device="cpu", dtype="float32", context=64, slots=3)
    with assemble(
        LoadOptions("tiny", remember=0), runner, None, Tokenizer(byte_tokenizer()), eos_ids=frozenset()
    ) as engine:
        yield engine


def _ids(engine: LocalEngine, prompt: list[int], **options: Any) -> tuple[int, ...]:
    return engine.generate(prompt, max_tokens=COUNT, **options).token_ids


@pytest.mark.parametrize(
    ("sampling", "speculative"),
    [("drawn", 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_the_same_text(fused: LocalEngine, led: LocalEngine, sampling: str, speculative: Any) -> None:
    options = SAMPLING[sampling]
    wanted = _ids(led, PROMPT, **options, speculative="off")
    assert _ids(fused, PROMPT, **options, speculative=speculative) == wanted


@pytest.mark.parametrize("k", ["off", pytest.param(2, marks=pytest.mark.slow)])
def test_logits_that_name_no_token_end_the_request(fused: LocalEngine, k: Any) -> None:
    """NaN behind the first token of an answer, so that a round on the device meets it and not the prompt."""
    target = fused._target
    assert isinstance(target, TritonModel)
    (token,) = fused.generate(PROMPT, max_tokens=1, temperature=0.0).token_ids
    embedded = target.inner.weights.embedding[token]
    before = embedded.clone()
    try:
        embedded.fill_(torch.nan)
        with pytest.raises(InvalidLogits, match="after 1 tokens"):
            fused.generate(PROMPT, max_tokens=5, temperature=0.0, speculative=k)
    finally:
        embedded.copy_(before)
    assert fused.generate(PROMPT, max_tokens=1, temperature=0.0).token_ids == (token,)


@pytest.mark.slow
def test_drafts_are_accepted(fused: LocalEngine) -> None:
    answer = fused.generate(PROMPT, max_tokens=COUNT, temperature=0.0, speculative=3)
    model = next(d for d in answer.stats.drafters if d.drafter == "model")
    assert sum(model.accepted) > 0


@pytest.mark.slow
def test_several_at_once(fused: LocalEngine) -> None:
    """More than there are slots, each with its own sampling and drafts; one needs the host (penalties)."""
    kinds: list[dict[str, Any]] = [
        {**SAMPLING["greedy"], "speculative": "off"},
        {**SAMPLING["drawn"], "speculative": 2},
        {**SAMPLING["cut"], "speculative": "auto"},
        {**SAMPLING["drawn"], "speculative": "auto", "repetition_penalty": 1.3},
        {**SAMPLING["greedy"], "speculative": "auto", "prediction": "abc"},
    ]
    asked = [([*PROMPT, i], options) for i, options in enumerate(kinds)]
    alone = [_ids(fused, prompt, **options) for prompt, options in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: _ids(fused, one[0], **one[1]), asked))
    assert together == alone


@pytest.mark.slow
def test_up_to_the_end_of_a_slot(fused: LocalEngine, led: LocalEngine) -> None:
    prompt = (PROMPT * 8)[:60]
    wanted = led.generate(prompt, temperature=0.0, speculative="off")
    found = fused.generate(prompt, temperature=0.0, speculative=8)
    assert found.token_ids == wanted.token_ids
    assert found.finish_reason == wanted.finish_reason == "length"
