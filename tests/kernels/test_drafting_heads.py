"""Heads in rounds that the device leads: they propose what they propose in rounds of the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.decoding.rounds.base import Outcomes
from specdec.decoding.rounds.device import DeviceRounds
from specdec.drafters.heads.loading import load_head
from specdec.models.base import Model
from specdec.text.tokenizer import Tokenizer
from specdec.types import LoadOptions
from tests.decoding import test_heads
from tests.decoding.toy import byte_tokenizer
from tests.drafters.heads.building import KINDS, Sizes, head
from tests.kernels.test_runner import load

GPU = torch.cuda.is_available()
COUNT = 24 if GPU else 6  # the interpreter takes its time
PROMPT = [5, 9, 17, 5, 9, 17, 5, 9, 31]
SEEDED: dict[str, Any] = {"temperature": 0.9, "seed": 4, "top_k": 20}
FEW = ("eagle3",)
ASKED: list[tuple[list[int], dict[str, Any]]] = [(PROMPT, {}), ([*PROMPT, 7, 8], {}), (PROMPT, SEEDED)]


def drafted(engine: LocalEngine, prompt: list[int], **options: Any) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The text, and what was drafted from round to round."""
    options = {"temperature": 0.0, "max_tokens": COUNT, "ignore_eos": True, "speculative": 3, **options}
    events = list(engine.stream(prompt, **options))
    text = tuple(token.id for event in events for token in event.tokens)
    return text, [event.round.drafted for event in events if event.round]


@pytest.fixture
def target(tmp_path: Path, device: torch.device) -> Model:
    test_heads.repeating(tmp_path / "target", num_hidden_layers=3)  # EAGLE-3 reads three of them
    return load(tmp_path / "target", device)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if GPU or k in FEW else pytest.mark.slow) for k in KINDS])
def test_the_same_drafts(kind: str, target: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.decoding.engine.calibrate", test_heads._guess)
    drafter = load_head(head(kind, Sizes.of(target)).save(tmp_path / "head"), target, "head")
    options = LoadOptions("tiny", "none", remember=0)
    with assemble(options, target, drafter, Tokenizer(byte_tokenizer()), eos_ids=frozenset()) as engine:
        for prompt, shape in ASKED if GPU else ASKED[:1]:
            plain, none = drafted(engine, prompt, speculative="off", **shape)
            assert not any(none)
            text, led = drafted(engine, prompt, **shape)
            assert text == plain
            text, hosted = drafted(engine, prompt, logprobs=1, **shape)
            assert text == plain
            for a, b in zip(led, hosted, strict=False):  # near the end a round ahead knows less of the room
                assert a[: len(b)] == b[: len(a)]
            if GPU:
                assert drafted(engine, prompt, speculative="auto", **shape)[0] == plain


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS if GPU else ("eagle3", "dspark"))
def test_rows_of_one_round(kind: str, target: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row's text is the one that it has alone, greedy and with a seed."""
    monkeypatch.setattr("specdec.decoding.engine.calibrate", test_heads._guess)
    led: list[int] = []
    collect = DeviceRounds.collect

    def noting(rounds: DeviceRounds) -> Outcomes:
        found = collect(rounds)
        led.append(sum(outcome.round is not None and bool(outcome.round.drafted) for outcome in found.values()))
        return found

    drafter = load_head(head(kind, Sizes.of(target)).save(tmp_path / "head"), target, "head")
    options = LoadOptions("tiny", "none", remember=0)
    with assemble(options, target, drafter, Tokenizer(byte_tokenizer()), eos_ids=frozenset()) as engine:
        plain = [drafted(engine, prompt, speculative="off", **shape)[0] for prompt, shape in ASKED[1:]]
        monkeypatch.setattr(DeviceRounds, "collect", noting)
        usual: dict[str, Any] = {"temperature": 0.0, "max_tokens": COUNT, "ignore_eos": True, "speculative": 3}
        streams = [engine.stream(prompt, **{**usual, **shape}) for prompt, shape in ASKED[1:]]
        assert [tuple(token.id for event in stream for token in event.tokens) for stream in streams] == plain
    assert max(led) == 2, "the device led no round of both"


def test_what_others_drafted_is_read_by_the_next_round(
    target: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its graph: a pass of its own would make every change from one drafter to another a pause."""
    monkeypatch.setattr("specdec.decoding.engine.calibrate", test_heads._guess)
    drafter = load_head(head("eagle3", Sizes.of(target)).save(tmp_path / "head"), target, "head")
    read: list[int] = []
    monkeypatch.setattr(drafter.head, "extend", lambda window: read.append(window.tokens.shape[1]))
    with assemble(LoadOptions("tiny"), target, drafter, Tokenizer(byte_tokenizer()), eos_ids=frozenset()) as engine:
        options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 16, "ignore_eos": True, "speculative": 3}
        rounds = [event.round for event in engine.stream(PROMPT, **options) if event.round]
    assert len({round.drafter for round in rounds}) > 1, "the text should change who drafts"
    assert len(read) <= 2, "the prompt, and what waits at the end"


@pytest.mark.slow
def test_a_slot_that_is_full_keeps_its_newer_half(
    target: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specdec.decoding.engine.calibrate", test_heads._guess)
    monkeypatch.setattr("specdec.drafters.heads.drafter.WINDOW", 2)
    monkeypatch.setattr("specdec.drafters.heads.drafter._MARGIN", 64)
    drafter = load_head(head("eagle3", Sizes.of(target)).save(tmp_path / "head"), target, "head")
    options, prompt = LoadOptions("tiny", "none", remember=0), PROMPT * 5
    with assemble(options, target, drafter, Tokenizer(byte_tokenizer()), eos_ids=frozenset()) as engine:
        plain, _ = drafted(engine, prompt, speculative="off", max_tokens=4)
        text, led = drafted(engine, prompt, max_tokens=4)
    assert text == plain
    assert any(led)
    assert drafter.cache.capacity < len(prompt) + len(text) + 24
    assert any(drafter._base)
