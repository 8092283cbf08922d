"""Finding, reading and refusing checkpoints."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.errors import (
    CheckpointCorrupt,
    CheckpointNotFound,
    DeviceUnavailable,
    InvalidRequest,
    UnsupportedModel,
)
from specdec.models.base import Batch, ModelInfo
from specdec.models.generation_config import generation_defaults
from specdec.models.loading import load_model, pick_dtype
from specdec.models.transformers.loading import over
from specdec.models.weights.checkpoint import Safetensors, resolve
from tests.models import models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.save(models.build("llama"), tmp_path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return models.save(models.build("llama"), tmp_path, max_shard_size="20KB")


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_is_itself(folder: Path) -> None:
    assert resolve(folder) == folder
    assert resolve(str(folder)) == folder


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "-bad-/name"])
def test_no_such_folder(name: str) -> None:
    with pytest.raises(CheckpointNotFound, match="no folder"):
        resolve(name)


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(CheckpointNotFound, match=r"is a file; expected the checkpoint's folder"):
        resolve(folder / "config.json")


def test_hub_id_offline_fails_at_once() -> None:
    started = time.perf_counter()
    with pytest.raises(CheckpointNotFound, match="is no folder here, and could not be fetched") as caught:
        resolve("nobody/no-such-model")
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)


def test_hub_id_without_a_network_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not told to be offline, but nothing answers."""

    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    started = time.perf_counter()
    with pytest.raises(CheckpointNotFound, match="could not be fetched") as caught:
        resolve("nobody/no-such-model")
    assert time.perf_counter() - started < 10
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_not_silently_left_out(folder: Path, file: str) -> None:
    (folder / file).write_text("{}")
    with pytest.raises(UnsupportedModel, match=rf"an adapter beside its weights: {file}.*expected the two merged"):
        resolve(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UnsupportedModel, match=rf"an adapter and not the model that it is for: {file}"):
        resolve(folder)


def test_sharded_is_single(sharded: Path) -> None:
    assert len(list(sharded.glob("*.safetensors"))) > 1
    model = load_model(sharded, device="cpu")
    reference, ids = models.build("llama"), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))


def test_missing_shard_is_named(sharded: Path) -> None:
    gone = sorted(sharded.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(CheckpointCorrupt, match=rf"lacks {gone.name}, which its index names"):
        load_model(sharded)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ([], "has no weight_map of tensors to files; fetch it again"),
        ({"model.norm.weight": 1}, "has no weight_map of tensors to files; fetch it again"),
        ({"there.is.none": "model.safetensors"}, r"there\.is\.none cannot be read \(File does not contain"),
    ],
)
def test_an_index_that_is_wrong(kind: str, where: object, said: str, tmp_path: Path) -> None:
    models.save(models.build(kind), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    with pytest.raises(CheckpointCorrupt, match=said):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_truncated_weights(kind: str, tmp_path: Path) -> None:
    models.save(models.build(kind), tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointCorrupt, match=r"model\.safetensors is damaged"):
        load_model(tmp_path)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 942\n"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "model.safetensors",
            POINTER,
            r"model\.safetensors is a git-lfs pointer, .*; fetch it with: git lfs pull",
        ),
        ("model.safetensors", "<!doctype html>\n<html>", r"model\.safetensors is an HTML page"),
        ("model.safetensors", "Entry not found", r"model\.safetensors is text that begins 'Entry not found'"),
        ("config.json", POINTER, r"config\.json is a git-lfs pointer"),
        ("config.json", "<html></html>", r"config\.json is an HTML page"),
    ],
)
def test_files_that_are_something_else(kind: str, name: str, content: str, said: str, tmp_path: Path) -> None:
    models.save(models.build(kind), tmp_path)
    (tmp_path / name).write_text(content)
    (tmp_path / "training_args.bin").write_bytes(b"any")  # speaks of no weights
    with pytest.raises(CheckpointCorrupt, match=said) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_shard_or_a_pickle_that_is_something_else(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.write_text(POINTER)
    with pytest.raises(CheckpointCorrupt, match=rf"{shard.name} is a git-lfs pointer"):
        load_model(sharded)
    for file in (*sharded.glob("*.safetensors"), sharded / "model.safetensors.index.json"):
        file.unlink()
    (sharded / "pytorch_model.bin").write_text(POINTER)
    with pytest.raises(CheckpointCorrupt, match=r"pytorch_model\.bin is a git-lfs pointer"):
        load_model(sharded)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_no_weights(kind: str, tmp_path: Path) -> None:
    models.save(models.build(kind), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointCorrupt, match=r"no model\.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_missing_tensor_is_named(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    models.save(models.build(kind), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in tensors if ".1." in name and name.endswith("weight"))
    del tensors[gone]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointCorrupt, match=r"lacks the tensor"):
        load_model(tmp_path)


def test_wrong_shape_through_transformers(tmp_path: Path) -> None:
    models.save(models.build("gpt2"), tmp_path)
    _edit(tmp_path / "config.json", n_inner=80)
    with pytest.raises(CheckpointCorrupt) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_wrong_shape_is_named(folder: Path) -> None:
    _edit(folder / "config.json", intermediate_size=64)
    with pytest.raises(CheckpointCorrupt, match=r"gate_proj\.weight has shape \(48, 32\); its config says \(64, 32\)"):
        load_model(folder)


@pytest.mark.parametrize("text", ["{", "[]", "\ufeffx"])
def test_unreadable_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointCorrupt, match="JSON"):
        load_model(folder)


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointCorrupt, match=r"has no config\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder model"),
        ({"model_type": "bart"}, "encoder-decoder model"),
        ({"model_type": "vit"}, "no causal language model"),
        ({"model_type": "never-heard-of"}, "never-heard-of"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "x.Own"}},
            r"its own code .* trust_remote_code=True",
        ),
    ],
)
def test_not_a_decoder_only_language_model(folder: Path, config: dict[str, Any], expected: str) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match=expected) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "qk_nope_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("KimiLinear", {"num_local_experts": 4, "linear_head_dim": 8, "linear_num_heads": 4}),
        ("DeepseekV32", {"n_routed_experts": 4, "index_topk": 4, "index_head_dim": 16, "index_n_heads": 2}),
        ("BailingHybrid", {"num_local_experts": 4, "head_dim": 8, "layer_group_size": 2}),
    ],
)
def test_a_model_that_fails_in_its_own_pass(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Fewer heads of keys than of queries, which these models' attention does not do."""
    import transformers

    config = getattr(transformers, f"{name}Config", None)
    if config is None:
        pytest.skip("this transformers does not know it yet")
    whole = config(**{**models.SIZES, **LATENT, **changes})
    model = transformers.AutoModelForCausalLM.from_config(whole, dtype=torch.float32)
    with pytest.raises(UnsupportedModel, match=f"{name}ForCausalLM") as caught:
        load_model(models.save(model, tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("sizes\ndiffer"), ImportError("no kernels"), TypeError()])
def test_whatever_a_first_pass_raises_is_said_in_a_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build("gemma")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(model, "forward", fail)
    info = ModelInfo("mine", "GemmaForCausalLM", "transformers", 0, 64, 2, torch.device("cpu"), torch.float32, 0, 0, 0)
    with pytest.raises(UnsupportedModel, match=r"mine: .* GemmaForCausalLM fails at its first pass: ") as caught:
        over(model, info)
    assert "\n" not in str(caught.value)


def test_weights_that_are_nan_through_transformers(tmp_path: Path) -> None:
    model = models.build("gemma")
    with torch.no_grad():
        model.model.norm.weight[3] = torch.nan
    with pytest.raises(CheckpointCorrupt, match=r"logits of a first pass in torch\.float32 are NaN or infinite"):
        load_model(models.save(model, tmp_path), device="cpu")


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_own_code_runs_when_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = folder / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    (folder / "own.py").write_text(OWN_CODE)
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    _edit(folder / "config.json", model_type="own", auto_map=classes)
    model = load_model(folder, device="cpu", trust_remote_code=True)
    assert (model.info.backend, model.info.architecture) == ("transformers", "OwnModel")
    reference, ids = models.build("llama"), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_here(folder: Path, device: str) -> None:
    with pytest.raises(DeviceUnavailable, match=f"device is '{device}', but torch finds no GPU"):
        load_model(folder, device=device)


def test_unknown_device(folder: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="expected auto, cpu, cuda or cuda:N"):
        load_model(folder, device="warp-drive")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"context": models.CONTEXT + 1}, "context"),
        ({"context": 0}, "context"),
        ({"slots": 0}, "slots"),
        ({"slots": True}, "slots"),
        ({"dtype": "int7"}, "dtype"),
        ({"kv_dtype": "fp8"}, "kv_dtype"),
    ],
)
def test_invalid_options(folder: Path, options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_model(folder, **{"device": "cpu", **options})
    assert caught.value.field == field


def test_info(folder: Path) -> None:
    model = models.build("llama")
    info = load_model(folder, name="mine", device="cpu", context=64, slots=2).info
    assert (info.name, info.backend) == ("mine", "eager")
    assert info.architecture == "LlamaForCausalLM"
    assert (info.context, info.slots, info.vocab_size) == (64, 2, models.VOCAB)
    assert info.parameters == model.num_parameters()
    assert info.weight_bytes == 4 * info.parameters
    assert info.cache_bytes == 4 * 2 * 3 * 2 * 2 * (64 + 17) * 8
    assert load_model(folder).info.context == models.CONTEXT


def test_auto_dtype(folder: Path) -> None:
    config = models.build("llama").config
    gpu = torch.device("cuda")
    assert pick_dtype("auto", torch.device("cpu"), folder, config) is torch.float32
    config.dtype = torch.float16
    assert pick_dtype("auto", gpu, folder, config) is torch.float16
    config.dtype = None
    assert Safetensors(folder).dtype is torch.float32
    assert pick_dtype("auto", gpu, folder, config) is torch.bfloat16
    assert pick_dtype("fp16", gpu, folder, config) is torch.float16


@pytest.mark.parametrize(
    ("saved", "defaults", "eos"),
    [
        (None, {"temperature": 0.0}, (2,)),
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}, (2,)),
        (
            {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "eos_token_id": [5, 6]},
            {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
            (5, 6),
        ),
        ({"do_sample": True}, {}, (2,)),
        (
            {"repetition_penalty": 1.1, "eos_token_id": 9},
            {"repetition_penalty": 1.1, "temperature": 0.0},
            (9,),
        ),
    ],
)
def test_generation_defaults(
    folder: Path, saved: dict[str, Any] | None, defaults: dict[str, float], eos: tuple[int, ...]
) -> None:
    (folder / "generation_config.json").unlink(missing_ok=True)
    if saved is not None:
        (folder / "generation_config.json").write_text(json.dumps(saved))
    assert generation_defaults(folder) == (defaults, eos)
