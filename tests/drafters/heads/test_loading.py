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


QWEN = {
    "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 97,
    "block_size": 8, "sliding_window": 32, "use_sliding_window": True,
}  # fmt: skip
MIXED, SLIDING = ["sliding_attention", "full_attention"], ["sliding_attention"] * 2


@pytest.mark.parametrize(
    ("more", "inner", "windows", "causal"),
    [
        ({"layer_types": ["full_attention"] * 2}, {}, (None, None), False),
        ({"layer_types": MIXED}, {}, (32, None), True),
        ({"layer_types": MIXED}, {"causal": False}, (32, None), False),
        ({"layer_types": SLIDING, "is_causal": False}, {"causal": True}, (32, 32), False),
        ({"layer_types": SLIDING}, {"causal": True, "swa_window_size": 16}, (16, 16), True),
        ({"layer_types": None}, {"use_swa": True, "swa_window_size": 16}, (16, 16), False),
        ({"layer_types": ["full_attention"] * 2}, {"use_swa": True}, (32, 32), False),
    ],
)
def test_windows_of_z_lab(
    more: dict[str, Any], inner: dict[str, Any], windows: tuple[int | None, ...], causal: bool, tmp_path: Path
) -> None:
    """Which layers have one, how wide it is, and whether a block's rows see those behind them there."""
    config = {**QWEN, **more, "dflash_config": {"mask_token_id": 1, **inner}}
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    found = read(tmp_path, 12)
    assert found.block
    assert (found.family.windows, found.block.causal_windows) == (windows, causal)


@pytest.mark.parametrize(
    "turned",
    [{"rope_theta": 500.0, "rope_scaling": None}, {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}],
)
def test_a_heads_positions_are_its_own(turned: dict[str, Any], tmp_path: Path) -> None:
    inner = {"dflash_config": {"mask_token_id": 1}}
    (tmp_path / "config.json").write_text(json.dumps({**QWEN, **turned, **inner}))
    frequencies, scale = read(tmp_path, 12).family.rope
    assert scale == 1
    torch.testing.assert_close(frequencies, 500.0 ** -(torch.arange(8) / 8))


def test_dflash2_of_z_lab(target: Model, tmp_path: Path) -> None:
    """Embeddings and logits are scaled, and logits capped, by its config alone."""
    sizes = Sizes.of(target)
    said = {"input_embedding_scale": 3.0, "output_multiplier": 0.2, "final_logit_softcapping": 20.0, "block_size": 8}
    plain, scaled, wide = (head("dflash2", sizes) for _ in range(3))
    scaled.config["dflash_config"] |= said
    assert target.ends is not None
    wide.tensors["embed_tokens.weight"] = 3 * target.ends.embed(torch.arange(sizes.vocab))
    heads = [load_head(w.save(tmp_path / str(i)), target, "head").head for i, w in enumerate((plain, scaled, wide))]
    x = torch.randn(1, 4, sizes.hidden, generator=torch.Generator().manual_seed(1)) * 5
    raw = heads[0].logits(x)  # type: ignore[attr-defined]
    torch.testing.assert_close(heads[1].logits(x), 20 * torch.tanh(raw * 0.2 / 20))  # type: ignore[attr-defined]
    filled = [h.filled(torch.tensor([7]), Alone()) for h in heads]  # type: ignore[attr-defined]
    torch.testing.assert_close(filled[1], filled[2])
    assert not torch.allclose(filled[1], filled[0], atol=1e-3)


class Alone:
    """Rows that see nothing but themselves."""

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def attend(self, index: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        assert index < 2
        assert queries.shape[0] == keys.shape[0]
        return values.repeat_interleave(queries.shape[1] // keys.shape[1], 1).flatten(1)


def test_a_vocabulary_that_only_the_head_pads(target: Model, tmp_path: Path) -> None:
    """With an embedding of its own its mask may lie behind the target's tokens."""
    sizes = Sizes.of(target)
    written = head("dflash", Sizes(sizes.hidden, sizes.layers, sizes.vocab + 9))
    written.config |= {"draft_vocab_size": sizes.vocab}
    written.config["dflash_config"]["mask_token_id"] = sizes.vocab + 2
    written.add({"embed_tokens.weight": (sizes.vocab + 9, sizes.hidden)})
    drafter = load_head(written.save(tmp_path / "own"), target, "head")
    x = torch.zeros(1, 4, sizes.hidden)
    assert drafter.head.logits(x).shape[-1] == sizes.vocab  # type: ignore[attr-defined]
    with pytest.raises(LoadError, match=r"its mask is token 99; tiny has 97"):
        load_head(without(written, "embed_tokens.weight").save(tmp_path / "none"), target, "head")


def test_a_copy_of_the_targets_head_is_not_kept(target: Model, tmp_path: Path) -> None:
    written = head("dspark", sizes := Sizes.of(target))
    lean = load_head(written.save(tmp_path / "without"), target, "head").weight_bytes
    assert target.ends is not None
    own = target.ends.unembed(torch.eye(sizes.hidden)).T.contiguous()
    for name, stored, more in (("copy", own, 0), ("other", own + 1, own.nbytes)):
        written.tensors["lm_head.weight"] = stored
        assert load_head(written.save(tmp_path / name), target, "head").weight_bytes == lean + more


def test_a_copy_is_not_kept_beside_a_target_in_few_bits(
    target: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its values are rounded they are no longer those that the checkpoint brings."""
    written, ends = head("dspark", sizes := Sizes.of(target)), target.ends
    assert ends is not None
    own, table = ends.unembed(torch.eye(sizes.hidden)).T, ends.embed(torch.arange(sizes.vocab))
    noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(1)) * own.std()
    lean = load_head(written.save(tmp_path / "without"), target, "head").weight_bytes
    written.tensors["embed_tokens.weight"] = table + noise * 0.05 * table.std() / own.std()
    for share, more in ((0.05, 0), (0.5, own.nbytes)):
        written.tensors["lm_head.weight"] = own + noise * share
        monkeypatch.setattr(ends, "rounded", True)
        assert load_head(written.save(tmp_path / str(share)), target, "head").weight_bytes == lean + more
    monkeypatch.setattr(ends, "rounded", False)
    assert load_head(tmp_path / "0.05", target, "head").weight_bytes == lean + own.nbytes + table.nbytes


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


def inside(written: Written, **config: Any) -> Written:
    written.config["dflash_config"] |= config
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
    "another vocabulary": (
        lambda s: head("eagle3", Sizes(s.hidden, s.layers, 2000)),
        "drafts for another target, whose vocabulary has 2000 tokens; that of tiny has 97",
    ),
    "no features of layers": (
        lambda s: broken(head("eagle3", s), eagle_config={"use_aux_hidden_state": False}),
        "use_aux_hidden_state is False; expected True",
    ),
    "sinks": (
        lambda s: inside(head("dflash", s), attention_sink_bias=True),
        "attention_sink_bias is True; expected False",
    ),
    "an order without windows": (
        lambda s: inside(head("dflash", s), causal=True),
        "causal is True; expected a window in every layer then",
    ),
    "another chain": (lambda s: broken(head("dspark", s), markov_head_type="deep"), "markov_head_type is 'deep'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_line(wrong: str, target: Model, tmp_path: Path) -> None:
    make, expected = WRONG[wrong]
    with pytest.raises(LoadError, match=expected) as raised:
        load_head(make(Sizes.of(target)).save(tmp_path), target, "head")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong", ["a missing tensor", "another shape", "d2t beyond", "another hidden size", "another method", "cut off"]
)
def test_a_wrong_head_is_told_before_its_target_is_loaded(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = Sizes(384, 8, 8192)
    folder = (WRONG[wrong][0](sizes) if wrong in WRONG else head("eagle3", sizes)).save(tmp_path)
    if wrong == "cut off":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-5000])
    monkeypatch.setattr("specdec.decoding.assembly.load_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(LoadError):
        specdec.load(draft=folder, slots=1, context=256)


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
