"""Weights that would be misread are refused, in one line that says what they are and what to take instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils.quantization_config import QuantizationMethod

from specdec.errors import UnsupportedModel
from specdec.models.base import Batch
from specdec.models.loading import foretold, load_model
from specdec.models.weights import formats
from tests.models import models

Tensors = dict[str, Tensor]
Edit = Callable[[Tensors], Tensors]
KINDS = ["llama", "gemma"]
"""One that has a family here, and one that transformers runs."""


def _folder(kind: str, folder: Path, edit: Edit = dict, **config: Any) -> Path:
    models.save(models.build(kind), folder)
    save_file(edit(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | config))
    return folder


def _stored_as(dtype: torch.dtype, more: str = "") -> Edit:
    """The linear weights in another form, with a scale each if `more` names it."""

    def edit(tensors: Tensors) -> Tensors:
        inner = [name for name in tensors if name.endswith("_proj.weight")]
        scales = {name.removesuffix("weight") + more: torch.ones(1) for name in inner} if more else {}
        return tensors | {name: tensors[name].to(dtype) for name in inner} | scales

    return edit


def _plus(**tensors: Tensor) -> Edit:
    return lambda held: held | {name.replace("__", "."): value for name, value in tensors.items()}


def _refused(folder: Path) -> str:
    with pytest.raises(UnsupportedModel) as caught:
        load_model(folder, device="cpu", context=32)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn, torch.float8_e5m2])
def test_codes_without_a_format(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    said = _refused(_folder(kind, tmp_path, _stored_as(dtype)))
    assert "model.layers.0.mlp.down_proj.weight is stored as" in said
    assert "names no quantization_config; expected one that says how to read it, or the model in 16 bits" in said


def test_codes_in_a_pickle(tmp_path: Path) -> None:
    folder = _folder("gemma", tmp_path, _stored_as(torch.int8))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "is stored as torch.int8" in _refused(folder)


def test_plain_weights_in_a_pickle(tmp_path: Path) -> None:
    folder = _folder("gemma", tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = load_model(folder, device="cpu")
    assert model.info.backend == "transformers"
    assert foretold(folder, device="cpu")["float32"].weights == model.info.weight_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_modelopt_in_a_file_of_its_own(kind: str, tmp_path: Path) -> None:
    folder = _folder(kind, tmp_path, _stored_as(torch.float8_e4m3fn, "weight_scale"))
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    assert "holds weights in ModelOpt's FP8 (hf_quant_config.json), which cannot be read here" in _refused(folder)


def test_modelopt_for_keys_and_values_alone(tmp_path: Path) -> None:
    """The weights are plain, and the scales are for a cache that is not in 8 bits here."""
    scale = {"model.layers.0.self_attn.k_proj.k_scale": torch.ones(1)}
    folder = _folder("llama", tmp_path, lambda held: held | scale)
    kept = {"quant_algo": None, "kv_cache_quant_algo": "FP8"}
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": kept}))
    assert load_model(folder, device="cpu").info.backend == "eager"


@pytest.mark.parametrize("method", ["modelopt", "exl3", None])
def test_a_format_that_nobody_here_knows(method: str | None, tmp_path: Path) -> None:
    folder = _folder("llama", tmp_path, quantization_config={"quant_method": method, "bits": 4})
    said = _refused(folder)
    assert f"quant_method of its weights is {method!r}, which cannot be read here; expected one of aqlm" in said


@pytest.mark.parametrize(
    ("config", "packages"),
    [
        ({"quant_method": "awq", "bits": 4}, "gptqmodel accelerate"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel optimum"),
        ({"quant_method": "hqq"}, "hqq accelerate"),
        ({"quant_method": "fp8"}, "accelerate"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
        ({"load_in_4bit": True}, "bitsandbytes accelerate"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes accelerate"),
        ({"quant_method": "mxfp4"}, "accelerate"),
    ],
)
def test_a_package_that_is_not_here(
    config: dict[str, Any], packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    said = _refused(_folder("gemma", tmp_path, quantization_config=config))
    assert said.endswith(f": pip install {packages}; or take the model in 16 bits")
    assert f"holds {config.get('quant_method', 'bitsandbytes')} weights" in said


def test_a_method_by_the_kind_that_transformers_has_for_it() -> None:
    config = models.build("llama").config
    config.quantization_config = {"quant_method": QuantizationMethod.BITS_AND_BYTES}
    assert formats.method_of(config) == "bitsandbytes"


@pytest.mark.parametrize("method", ["quanto", "nvfp4"])
def test_what_transformers_says_of_other_formats(method: str, tmp_path: Path) -> None:
    said = _refused(_folder("llama", tmp_path, quantization_config={"quant_method": method}))
    assert f"its {method} weights cannot be read here: " in said
    assert said.endswith("; expected the model in 16 bits")


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_the_model_does_not_use(kind: str, tmp_path: Path) -> None:
    left = {f"model.layers.{i}.self_attn.q_proj.lora_A.weight": torch.zeros(2, 32) for i in range(5)}
    said = _refused(_folder(kind, tmp_path, lambda held: held | left))
    assert f"holds tensors that {kind} does not use: model.layers.0.self_attn.q_proj.lora_A.weight, " in said
    assert said.endswith("and 2 more; expected a model that uses all")


@pytest.mark.parametrize("kind", KINDS)
def test_layers_beyond_those_of_the_config(kind: str, tmp_path: Path) -> None:
    assert "does not use: model.layers.2" in _refused(_folder(kind, tmp_path, num_hidden_layers=2, layer_types=None))


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_change_nothing(kind: str, tmp_path: Path) -> None:
    spare = _plus(
        model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4),
        model__layers__1__attn__bias=torch.ones(1, 1, 8, 8, dtype=torch.uint8),
        embeddings__position_ids=torch.arange(8).view(1, 8),
        mtp__fc__weight=torch.ones(2, 2, dtype=torch.int8),
        model__layers__3__enorm__weight=torch.ones(2),
        visual__patch_embed__weight=torch.ones(2, 2),
        v_head__summary__weight=torch.ones(1, 2),
    )
    model = load_model(_folder(kind, tmp_path, spare, num_nextn_predict_layers=1), device="cpu")
    reference, ids = models.build(kind), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))


def test_a_head_of_its_own_in_a_model_that_should_have_none(tmp_path: Path) -> None:
    """As transformers, the model here believes the file where the config says that the head is the embedding."""
    import transformers

    head = torch.randn(models.VOCAB, 32)
    folder = _folder("llama-tied-biased", tmp_path, lambda held: held | {"lm_head.weight": head})
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model, ids = load_model(folder, device="cpu"), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))


def test_the_embedding_twice_in_a_model_that_is_tied(tmp_path: Path) -> None:
    def edit(held: Tensors) -> Tensors:
        return held | {"lm_head.weight": held["model.embed_tokens.weight"].clone()}

    model = load_model(_folder("llama-tied-biased", tmp_path, edit), device="cpu")
    assert model.info.parameters == models.build("llama-tied-biased").num_parameters()
