"""A draft model with another tokenizer, between texts and through the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import specdec
from specdec.bundled import path as bundled
from specdec.drafters.base import DraftContext
from specdec.drafters.translated import TranslatedDrafter, Translation
from specdec.engine import Engine
from specdec.text.tokenizer import Tokenizer
from tests.decoding.toy import byte_tokenizer
from tests.text import conftest as tokenizers

PROMPT = "Once upon a time a fox and a hen lived in the woods. Once upon a time a fox"
CUT = 4000
TRANSLATED = ("byte_level", "llama_form", "gemma_form", "metaspace")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled draft model, whose tokenizer has lost those merges that were learnt last."""
    folder = Path(shutil.copytree(bundled("draft"), tmp_path_factory.mktemp("draft") / "other"))
    file = folder / "tokenizer.json"
    held = json.loads(file.read_text())
    merges, vocabulary = held["model"]["merges"][:CUT], held["model"]["vocab"]
    made = {(pair if isinstance(pair, str) else " ".join(pair)).replace(" ", "") for pair in merges}
    added = {entry["content"] for entry in held["added_tokens"]}
    lost = {token for token in vocabulary if len(token) > 1 and token not in made and token not in added}
    held["model"] |= {"merges": merges, "vocab": {t: i for t, i in vocabulary.items() if t not in lost}}
    file.write_text(json.dumps(held))
    return folder


@pytest.fixture(scope="module")
def engine(foreign: Path) -> Iterator[Engine]:
    with specdec.load(draft=foreign, slots=2, context=512, remember=0) as engine:
        yield engine


def test_a_text_in_other_tokens_as_it_grows() -> None:
    target, draft = Tokenizer.load(bundled("target")), Tokenizer(byte_tokenizer())
    text = "Grüße from the wood, 木! " * 9
    ids = target.encode_plain(text)
    known: list[int] = []
    read = Translation(DraftContext(1, 0, known, 0), target, draft)
    before: list[int] = []
    for token in ids:
        known.append(token)
        same = read.read()
        assert read.context.tokens[:same] == before[:same]
        before = list(read.context.tokens)
    assert draft.decode(before) == text
    assert before == draft.encode_plain(text)
    again = Translation(DraftContext(2, 0, ids, 0), target, draft)
    again.read()
    assert again.context.tokens == before


@pytest.mark.parametrize("target", TRANSLATED)
@pytest.mark.parametrize("draft", TRANSLATED)
def test_a_text_goes_over_wherever_it_is_cut(target: str, draft: str) -> None:
    """Also inside words: as a draft model that knows the text goes on, so does the target, but for the last token. In
    byte-level and sentencepiece vocabularies."""
    ours, theirs = (tokenizers.KINDS[kind]() for kind in (target, draft))
    drafter = TranslatedDrafter.__new__(TranslatedDrafter)
    drafter._target, drafter._draft = ours, theirs
    text = "The quick brown fox jumps over xylophonists and wizards. It is not over, is it? Don't say so!"
    ids, whole, tried = ours.encode_plain(text), theirs.encode_plain(text), 0
    for at in range(4, len(ids) - 1):
        read = Translation(DraftContext(1, 0, ids[:at], 0), ours, theirs)
        read.read()
        known = read.context.tokens
        if whole[: len(known)] == known:  # else the target's token ends inside one of the draft model's
            assert drafter._translated(ids[:at], known, whole[len(known) :]) == ids[at:-1], at
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("shape", [{"temperature": 0.0}, {"temperature": 0.8, "seed": 5}])
def test_the_text_is_the_targets_own(engine: Engine, shape: dict[str, Any]) -> None:
    assert "translated" in engine.info.drafters
    for prompt in (PROMPT, [{"role": "user", "content": "Tell me of a fox."}]):
        plain = engine.generate(prompt, max_tokens=32, speculative="off", **shape)
        for k in (1, 4, "auto"):
            assert engine.generate(prompt, max_tokens=32, speculative=k, **shape).token_ids == plain.token_ids


def test_what_it_writes_is_accepted(engine: Engine) -> None:
    """Where the two vocabularies cut a text differently the draft model's words are still its words."""
    answer = engine.generate(PROMPT, max_tokens=64, temperature=0.0, speculative=4)
    (stats,) = [d for d in answer.stats.drafters if d.drafter == "translated"]
    assert sum(stats.drafted) > 40
    assert sum(stats.accepted) > sum(stats.drafted) / 10
