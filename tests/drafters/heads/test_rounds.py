"""Heads of every kind in an engine: whatever they propose, the text is the target's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import specdec
from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.decoding.speculation.controller import Controller
from specdec.drafters.base import Drafter
from specdec.drafters.heads.base import FeatureWindow
from specdec.drafters.heads.drafter import HeadDrafter
from specdec.drafters.heads.loading import load_head
from specdec.models.base import Model
from specdec.models.loading import load_model
from specdec.text.tokenizer import Tokenizer
from specdec.types import Grammar, LoadOptions
from specdec.verify import verify
from tests.decoding import test_heads
from tests.decoding.toy import byte_tokenizer
from tests.drafters.heads.building import KINDS, Sizes, head

PROMPTS = ([5, 9, 17, 5, 9, 17, 5, 9, 31], [5, 9, 17, 40, 41, 42, 43], [80] * 30, list(range(3, 90)))
SHAPES: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 0.9, "top_k": 20, "min_p": 0.02},
    {"temperature": 0.7, "repetition_penalty": 1.3, "frequency_penalty": 0.4, "logit_bias": {3: 4.0}},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("target")
    test_heads.repeating(found, vocab_size=300, max_position_embeddings=160)
    return found


@pytest.fixture(autouse=True)
def _uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    def guess(target: Model, drafters: list[Drafter], controller: Controller) -> None:
        for drafter in drafters:
            if not drafter.free:
                controller.draft_costs[drafter.name] = controller.host_cost

    monkeypatch.setattr("specdec.decoding.engine.calibrate", guess)


def loaded(folder: Path, slots: int = 4) -> Model:
    return load_model(folder, device="cpu", context=128, slots=slots)


def engine(target: Model, draft: HeadDrafter | None, **options: Any) -> LocalEngine:
    options = {"draft": "none", "remember": 0, **options}
    return assemble(LoadOptions("tiny", **options), target, draft, Tokenizer(byte_tokenizer()), eos_ids=frozenset())


def texts(engine: LocalEngine, speculative: Any) -> list[tuple[int, ...]]:
    """Of all prompts and shapes, four at a time."""
    asked = [(p, s) for s in SHAPES for p in PROMPTS]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(engine.generate, p, seed=3, max_tokens=24, ignore_eos=True, speculative=speculative, **shape)
            for p, shape in asked
        ]
    return [job.result().token_ids for job in jobs]


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[list[tuple[int, ...]]]:
    with engine(loaded(folder), None) as running:
        yield texts(running, "off")


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_text(kind: str, folder: Path, tmp_path: Path, plain: list[tuple[int, ...]]) -> None:
    target = loaded(folder)
    drafter = load_head(head(kind, Sizes.of(target)).save(tmp_path, pickled=kind == "eagle3"), target, "head")
    with engine(target, drafter) as running:
        for k in ("auto", 1, 5):
            assert texts(running, k) == plain, k
        drafted = running.stats().drafted
        assert drafted > 0
        options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24, "ignore_eos": True}
        further = [*PROMPTS[2], *plain[2], 7]
        fast, slow = (running.generate(further, speculative=k, **options) for k in (3, "off"))
        assert fast.token_ids == slow.token_ids
        assert fast.usage.cached_tokens and fast.usage.cached_tokens > len(PROMPTS[2])
        assert running.info.drafters[-1] == kind.split(maxsplit=1)[0]
        assert running.generate(PROMPTS[0], temperature=0.0, max_tokens=9, speculative="off").stats.drafted == 0


def test_without_memory_to_read_it_drafts_less_and_no_text_changes(
    folder: Path, tmp_path: Path, plain: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = loaded(folder)
    drafter = load_head(head("eagle3", Sizes.of(target)).save(tmp_path), target, "head")
    extend, calls = drafter.head.extend, count()

    def short(window: FeatureWindow) -> None:
        if next(calls) % 3:
            raise torch.OutOfMemoryError
        extend(window)

    monkeypatch.setattr(drafter.head, "extend", short)
    with engine(target, drafter) as running:
        assert texts(running, 5) == plain
    assert next(calls) > len(plain)


@pytest.mark.parametrize("kind", ["eagle3", "dspark"])
def test_rejection_is_greedy_at_temperature_zero(
    kind: str, folder: Path, tmp_path: Path, plain: list[tuple[int, ...]]
) -> None:
    target = loaded(folder)
    drafter = load_head(head(kind, Sizes.of(target)).save(tmp_path), target, "head")
    with engine(target, drafter, accept_rule="rejection") as running:
        answer = running.generate(PROMPTS[0], temperature=0.0, max_tokens=24, ignore_eos=True, speculative=4)
        assert answer.token_ids == plain[0]
        drawn = running.generate(PROMPTS[0], temperature=1.0, seed=1, max_tokens=24, ignore_eos=True, speculative=4)
        assert len(drawn.token_ids) == 24


@pytest.mark.parametrize("kind", KINDS)
def test_a_grammar_holds(kind: str, folder: Path, tmp_path: Path) -> None:
    target = loaded(folder, slots=2)
    drafter = load_head(head(kind, Sizes.of(target)).save(tmp_path), target, "head")
    grammar = Grammar.regex("(ab|cd){5,6}")
    with engine(target, drafter) as running:
        for shape in SHAPES[:2]:
            asked: dict[str, Any] = {"grammar": grammar, "seed": 2, "max_tokens": 14, "ignore_eos": True, **shape}
            plain = running.generate(PROMPTS[0], speculative="off", **asked)
            fast = running.generate(PROMPTS[0], speculative=4, **asked)
            assert fast.token_ids == plain.token_ids
            assert fast.stats.drafted > 0
            assert re.match("(ab|cd){3}", fast.text)


def test_a_heads_own_doubts_shorten_drafts_under_auto_alone(folder: Path, tmp_path: Path) -> None:
    target = loaded(folder, slots=2)
    written = head("dspark", Sizes.of(target))
    written.tensors["confidence_head.proj.bias"].fill_(-9.0)
    with engine(target, load_head(written.save(tmp_path), target, "head")) as running:
        for speculative, most in (("auto", 1), (4, 4)):
            options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24, "speculative": speculative}
            rounds = [event.round for event in running.stream(PROMPTS[0], **options) if event.round]
            assert max(len(round.drafted) for round in rounds if round.drafter == "dspark") == most


def test_verify_puts_a_head_to_the_test(tmp_path: Path) -> None:
    test_heads.repeating(tmp_path / "target", vocab_size=300, max_position_embeddings=512)
    target = load_model(tmp_path / "target", device="cpu", context=400, slots=2)
    drafter = load_head(head("dflash", Sizes.of(target)).save(tmp_path / "head"), target, "head")
    with engine(target, drafter) as running:
        checks = list(verify(running, 1, quick=True))
    assert {check.verdict for check in checks} <= {"pass", "not shown"}
    assert sum(check.drafted for check in checks) > 0


def test_a_quantised_target_shares_its_head(tmp_path: Path) -> None:
    """The drafts are made with the target's own rounded weights; there is no second copy of them."""
    folder = head("dflash", Sizes(384, 8, 8192)).save(tmp_path)
    options: dict[str, Any] = {"slots": 1, "context": 256, "remember": 0, "quantize": "int4", "quantize_head": True}
    with specdec.load(draft="none", **options) as running:
        alone = running.info.weight_bytes
        plain = running.generate("Once upon", max_tokens=16, temperature=0.0)
    with specdec.load(draft=folder, **options) as running:
        assert running.info.weight_bytes - alone == 4 * running.info.draft_parameters < 3_000_000
        fast = running.generate("Once upon", max_tokens=16, temperature=0.0, speculative=5)
        assert fast.token_ids == plain.token_ids
        assert fast.stats.drafted > 0


@pytest.mark.parametrize("kind", ["eagle3", "dflash"])
def test_what_a_head_is_worth_is_known_at_load(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guess(target: Model, drafters: list[Drafter], controller: Controller) -> None:
        controller.verify_cost.observe(1, 1.0)
        controller.draft_costs[kind].observe(1, 0.3)

    monkeypatch.setattr("specdec.decoding.engine.calibrate", guess)
    target = loaded(folder)
    drafter = load_head(head(kind, Sizes.of(target)).save(tmp_path), target, "head")  # by chance: never right
    with engine(target, drafter) as running:
        first = running.generate(PROMPTS[0], temperature=0.0, max_tokens=20, ignore_eos=True, speculative="auto")
    assert first.stats.drafted == 0
