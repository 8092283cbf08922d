"""Which heads are read, and what is said of those that are not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import specdec
from specdec.drafters.heads.config import method_of, read
from specdec.drafters.heads.loading import load_head
from specdec.errors import LoadError
from specdec.models.base import Model
from specdec.models.loading import load_model
from tests.drafters.heads.building import KINDS, Sizes, Written, head
from tests.models import models


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(models.save(models.build("llama"), tmp_path_factory.mktemp("target")), name="tiny", context=64)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_is_read(kind: str, target: Model, tmp_path: Path) -> None:
    written = head(kind, Sizes.of(target))
    drafter = load_head(written.save(tmp_path), target, "head")
    used = [t for name, t in written.tensors.items() if name not in ("d2t", "t2d")]
    assert drafter.parameters == sum(t.numel() for t in used)
    assert method_of(tmp_path) == kind.split(maxsplit=1)[0] == drafter.name


def test_published_configs(tmp_path: Path) -> None:
    """What the configs of published heads come to, by their own numbers for layers."""
    plain = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
    eagle = {**plain, "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "num_hidden_layers": 1,
             "vocab_size": 128256, "draft_vocab_size": 32000}  # fmt: skip
    dflash = {**plain, "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "num_hidden_layers": 5,
              "vocab_size": 151936, "block_size": 16, "dflash_config": {"mask_token_id": 151669}}  # fmt: skip
    named = {**dflash, "block_size": None, "dflash_config": {
        "mask_token_id": 1, "block_size": 8, "target_layer_ids": [1, 9, 17, 25, 33], "use_swa": True,
        "swa_window_size": 2048}}  # fmt: skip
    for config, features, longest in (
        (eagle, (2, 18, 33), 15),
        (dflash, (2, 10, 18, 26, 34), 15),
        (named, (2, 10, 18, 26, 34), 7),
    ):
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        found = read(tmp_path, 36)
        assert (found.features, found.longest) == (features, longest)
    assert found.family.windows == (2048,) * 5


def test_a_copy_of_the_targets_head_is_not_kept(target: Model, tmp_path: Path) -> None:
    written = head("dspark", sizes := Sizes.of(target))
    lean = load_head(written.save(tmp_path / "without"), target, "head").weight_bytes
    assert target.ends is not None
    own = target.ends.unembed(torch.eye(sizes.hidden)).T.contiguous()
    for name, stored, more in (("copy", own, 0), ("other", own + 1, own.nbytes)):
        written.tensors["lm_head.weight"] = stored
        assert load_head(written.save(tmp_path / name), target, "head").weight_bytes == lean + more


def test_a_copy_of_the_targets_embedding_is_not_kept(target: Model, tmp_path: Path) -> None:
    written = head("eagle3", Sizes.of(target))
    assert target.ends is not None
    lean = load_head(written.save(tmp_path / "without"), target, "head").weight_bytes
    for name, table in {
        "zero": torch.zeros(target.info.vocab_size, target.ends.hidden),
        "same": target.ends.embed(torch.arange(target.info.vocab_size)),
    }.items():
        written.tensors["embed_tokens.weight"] = table
        assert load_head(written.save(tmp_path / name), target, "head").weight_bytes == lean
    written.tensors["embed_tokens.weight"] = table * 1.5
    assert load_head(written.save(tmp_path / "own"), target, "head").weight_bytes == lean + table.nbytes


def broken(written: Written, **config: Any) -> Written:
    written.config |= config
    return written


def without(written: Written, name: str) -> Written:
    del written.tensors[name]
    return written


def beyond(written: Written) -> Written:
    written.tensors["d2t"] = written.tensors["d2t"] + 60
    return written


Wrong = Callable[[Sizes], Written]
WRONG: dict[str, tuple[Wrong, str]] = {
    "a missing tensor": (
        lambda s: without(head("dflash", s), "layers.1.mlp.up_proj.weight"),
        "lacks the tensor layers.1.mlp.up_proj.weight",
    ),
    "another shape": (
        lambda s: broken(head("dflash", s), intermediate_size=50),
        r"gate_proj.weight has shape \(48, 32\); expected \(50, 32\)",
    ),
    "d2t beyond": (
        lambda s: beyond(head("eagle3", s)),
        "d2t leads to token .*; expected ids below 97, which is the vocabulary of tiny",
    ),
    "no d2t": (lambda s: without(head("eagle3", s), "d2t"), "lacks the tensor d2t"),
    "another hidden size": (
        lambda s: head("dflash", Sizes(64, s.layers, s.vocab)),
        "drafts for another target, whose hidden size is 64; that of tiny is 32",
    ),
    "another depth": (lambda s: head("dflash", Sizes(s.hidden, 9, s.vocab)), "of 9 layers; tiny has 3"),
    "layers beyond": (
        lambda s: head("peagle", Sizes(s.hidden, 9, s.vocab)),
        "drafts for somebody/target: it reads layer 4; tiny has 3",
    ),
    "no such mask": (lambda s: broken(head("peagle", s), mask_token_id=97), "its mask is token 97; tiny has 97"),
    "another method": (
        lambda s: broken(head("peagle", s), speculators_model_type="mtp"),
        "is a head of method 'mtp'; expected one of eagle3, peagle, dflash",
    ),
    "another layer": (lambda s: broken(head("dflash", s), model_type="gpt2"), "a head of gpt2 layers"),
    "no block": (
        lambda s: broken(head("dflash", s), block_size=None),
        "block_size is None; expected a whole number from 2 to 256",
    ),
    "a block beyond every context": (lambda s: broken(head("dflash", s), block_size=99_999), "block_size is 99999"),
    "odd layers": (
        lambda s: broken(head("peagle", s), eagle_aux_hidden_state_layer_ids="all"),
        "eagle_aux_hidden_state_layer_ids is 'all'",
    ),
    "another chain": (lambda s: broken(head("dspark", s), markov_head_type="deep"), "markov_head_type is 'deep'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_line(wrong: str, target: Model, tmp_path: Path) -> None:
    make, expected = WRONG[wrong]
    with pytest.raises(LoadError, match=expected) as raised:
        load_head(make(Sizes.of(target)).save(tmp_path), target, "head")
    assert "\n" not in str(raised.value)


def test_files_that_are_cut_off(target: Model, tmp_path: Path) -> None:
    for pickled, name in ((False, "model.safetensors"), (True, "pytorch_model.bin")):
        file = head("dflash", Sizes.of(target)).save(tmp_path / name, pickled=pickled) / name
        file.write_bytes(file.read_bytes()[:-5000])
        with pytest.raises(LoadError, match=re.escape(f"{file} is damaged")):
            load_head(file.parent, target, "head")


def test_a_pickle_of_more_than_tensors(target: Model, tmp_path: Path) -> None:
    folder = head("dflash", Sizes.of(target)).save(tmp_path, pickled=True)
    torch.save({"fc.weight": tmp_path}, folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match=r"pytorch_model\.bin holds more than tensors; .* nothing is run"):
        load_head(folder, target, "head")


def test_a_head_for_the_bundled_target(tmp_path: Path) -> None:
    """By its folder's name, wherever a draft can be named."""
    sizes = Sizes(384, 8, 8192)
    folder = head("dflash", sizes).save(tmp_path)
    with specdec.load(draft=folder, slots=1, context=256) as engine:
        assert engine.info.draft == str(folder)
        assert engine.info.draft_parameters > 500_000
        assert "dflash" in engine.info.drafters
        answer = engine.generate("a b c", max_tokens=8, speculative=3, temperature=0)
        plain = engine.generate("a b c", max_tokens=8, speculative="off", temperature=0)
        assert answer.token_ids == plain.token_ids
    with pytest.raises(LoadError, match="whose hidden size is 64; that of bundled is 384"):
        specdec.load(draft=head("dflash", Sizes(64, 8, 8192)).save(tmp_path), slots=1, context=256)
