"""Real checkpoints from a folder: the text is transformers' own, and what is wrong with a folder is said in a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

import specdec
from specdec.decoding.assembly import assemble
from specdec.drafters.model import DraftModelDrafter
from specdec.engine import Engine
from specdec.errors import (
    CheckpointCorrupt,
    CheckpointNotFound,
    DeviceUnavailable,
    InvalidLogits,
    InvalidRequest,
    UnsupportedModel,
)
from specdec.models.eager.model import EagerModel
from specdec.models.loading import load_model
from specdec.text.tokenizer import Tokenizer
from specdec.types import LoadOptions
from tests.decoding.toy import VOCAB, byte_tokenizer

TOKENIZER = Tokenizer(byte_tokenizer())
PROMPT = "the cat sat on the mat and the cat sat on"
NEW = 48


def save_llama(folder: Path, seed: int, width: int = 64) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=VOCAB, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("target"), 0)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("draft"), 1, width=32)


@pytest.fixture(scope="module")
def reference(target: Path) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(target)
    ids = torch.tensor([list(byte_tokenizer()(PROMPT)["input_ids"])])
    out = model.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0)
    return [int(i) for i in out[0, ids.shape[1] :]]


@pytest.fixture(scope="module", params=["none", "lookup", "hostile", "itself"])
def engine(request: pytest.FixtureRequest, target: Path, hostile: Path) -> Iterator[Engine]:
    draft = {"hostile": str(hostile), "itself": str(target)}.get(request.param, request.param)
    with specdec.load(str(target), draft, slots=2) as engine:
        yield engine


def ask(engine: Engine, k: Any, **options: Any) -> specdec.Completion:
    shape: dict[str, Any] = {"max_tokens": NEW, "min_tokens": NEW, "temperature": 0} | options
    return engine.generate(PROMPT, speculative=k, prediction="the mat and the dog", **shape)


@pytest.mark.parametrize("k", ["off", "auto", 1, 4, 9])
def test_greedy_text_is_what_transformers_generates(engine: Engine, reference: list[int], k: Any) -> None:
    assert list(ask(engine, k).token_ids) == reference


def test_same_seed_same_text_over_a_real_model(engine: Engine) -> None:
    shape = {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.1, "seed": 4}
    plain = ask(engine, "off", **shape)
    assert all(ask(engine, k, **shape).token_ids == plain.token_ids for k in ("auto", 1, 5))


def test_a_draft_that_always_agrees_is_always_accepted(target: Path) -> None:
    with specdec.load(target, target) as engine:
        stats = engine.generate([7, 8, 9], speculative=4, temperature=0, max_tokens=41, ignore_eos=True).stats
    assert stats.acceptance_rate == 1.0
    assert stats.rounds == 8


def test_info_says_what_was_loaded(target: Path, hostile: Path) -> None:
    with specdec.load(str(target), str(hostile), context=128) as engine:
        info = engine.info
    assert (info.context, info.vocab_size, info.device, info.dtype) == (128, VOCAB, "cpu", "float32")
    assert info.drafters == ("grammar", "prediction", "lookup", "memory", "model")
    assert info.draft == str(hostile)
    assert info.parameters > info.draft_parameters > 0


def test_recurrent_state_speculates(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=VOCAB, state_size=4)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    options: dict[str, Any] = {"max_tokens": 20, "temperature": 0, "ignore_eos": True, "logit_bias": {40: 50.0}}
    with specdec.load(str(tmp_path), "lookup", context=128) as engine:
        assert engine.info.speculation_unavailable is None
        plain = engine.generate("hello hello hello", **options, speculative="off")
        answer = engine.generate("hello hello hello", **options, speculative=4)
    assert answer.token_ids == plain.token_ids
    assert answer.stats.accepted > 0


def test_wrong_loads_are_refused_in_one_line(target: Path, tmp_path: Path) -> None:
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (CheckpointNotFound, "no folder", {"target": "./nowhere"}),
        (DeviceUnavailable, "cuda", {"target": str(target), "device": "cuda"}),
        (InvalidRequest, "dtype is 'int3'", {"target": str(target), "dtype": "int3"}),
        (InvalidRequest, "context is 9999", {"target": str(target), "context": 9999}),
        (InvalidRequest, "draft is None", {"target": str(target), "draft": None}),
        (InvalidRequest, "slots is 0", {"target": str(target), "slots": 0}),
        (InvalidRequest, "accept_rule is 'maybe'", {"target": str(target), "accept_rule": "maybe"}),
    ]
    for kind, message, options in cases:
        if kind is DeviceUnavailable and torch.cuda.is_available():
            continue
        with pytest.raises(kind, match=message) as caught:
            specdec.load(**options)
        assert "\n" not in str(caught.value)


def test_drafts_of_another_tokenizer_are_translated(target: Path, tmp_path: Path) -> None:
    draft = save_llama(tmp_path, 2, width=32)
    raw = json.loads((draft / "tokenizer.json").read_text())
    vocabulary = raw["model"]["vocab"]
    a, b = list(vocabulary)[5:7]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (draft / "tokenizer.json").write_text(json.dumps(raw))
    with specdec.load(str(target), str(draft)) as engine:
        assert engine.info.drafters[-1] == "translated"


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = save_llama(tmp_path, 3, width=32)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointCorrupt, match=r"model.safetensors"):
        specdec.load(str(folder), "none")
    weights.unlink()
    with pytest.raises(CheckpointCorrupt, match=r"safetensors"):
        specdec.load(str(folder), "none")


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    folder = save_llama(tmp_path, 3, width=32)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for names in ((folder, "none"), ("bundled", folder)):
        with pytest.raises(UnsupportedModel, match=r"holds an adapter beside its weights: adapter_config\.json"):
            specdec.load(*names)


def test_a_tokenizer_that_is_something_else(tmp_path: Path) -> None:
    folder = save_llama(tmp_path, 3, width=32)
    (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(CheckpointCorrupt, match=r"tokenizer\.json is a git-lfs pointer, not the file itself"):
        specdec.load(folder, "none")


def test_a_config_that_makes_no_sense(tmp_path: Path) -> None:
    folder = save_llama(tmp_path, 3, width=32)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"num_attention_heads": 7}))
    with pytest.raises(CheckpointCorrupt, match=r"config\.json does not make sense: .*32.* not a multiple .*7"):
        specdec.load(folder, "none")


def test_weights_that_are_nan_end_the_request_and_not_the_engine(target: Path) -> None:
    runner = load_model(target, device="cpu", slots=2)
    assert isinstance(runner, EagerModel)
    shape: dict[str, Any] = {"temperature": 0, "max_tokens": 9, "ignore_eos": True, "speculative": 3}
    with assemble(
        LoadOptions("it", remember=0), runner, None, Tokenizer(byte_tokenizer()), eos_ids=frozenset()
    ) as engine:
        wanted = engine.generate(PROMPT, **shape).token_ids
        embedded = runner.weights.embedding[wanted[0]]
        before = embedded.clone()
        embedded.fill_(torch.nan)
        with pytest.raises(InvalidLogits, match="after 1 tokens"):
            engine.generate(PROMPT, **shape)
        assert bool(runner.cache.tensor.isfinite().all())  # what a mask hides is read all the same
        embedded.copy_(before)
        assert engine.generate(PROMPT, **shape).token_ids == wanted


def test_an_engine_for_one_request_at_a_time_is_ready_without_warming_up(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[EagerModel] = []
    monkeypatch.setattr(EagerModel, "warm_up", lambda self, *_: warmed.append(self))
    models = [load_model(target, device="cpu", slots=2) for _ in range(2)]
    for alone in (False, True):
        draft = DraftModelDrafter.over(models[1], models[0])
        options, tokenizer = LoadOptions("it", remember=0), Tokenizer(byte_tokenizer())
        with assemble(options, models[0], draft, tokenizer, eos_ids=frozenset(), alone=alone) as engine:
            assert engine.generate(PROMPT, max_tokens=4, speculative=2).token_ids
        assert warmed == models
