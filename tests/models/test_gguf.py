"""GGUF files of every type and family give the logits of the numbers that they stand for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from specdec.errors import CheckpointCorrupt, LoadError, MissingExtra, UnsupportedModel
from specdec.gguf import open_gguf
from specdec.models import families
from specdec.models.base import Batch
from specdec.models.eager import model as eager
from specdec.models.eager.model import EagerModel
from specdec.models.generation_config import generation_defaults
from specdec.models.llamacpp import loading as llamacpp
from specdec.models.loading import foretold, load_model
from specdec.models.weights.checkpoint import resolve
from specdec.models.weights.export import export
from specdec.models.weights.gguf import GgufTensors, read_gguf_config
from specdec.models.weights.layers import Quantization
from tests import gguf_files
from tests.models import models
from tests.models.models import close, full, tokens


def _load(path: Path) -> EagerModel:
    model = load_model(path, device="cpu", dtype="float32", context=64, slots=3)
    assert isinstance(model, EagerModel)
    return model


@torch.inference_mode()
def _same(path: Path, reference: Any) -> None:
    ids = tokens(1, 20)
    close(_load(path).run(Batch(ids, [0], [0], 20)).logits, full(reference, ids))


@pytest.mark.parametrize("kind", gguf_files.TYPES)
def test_every_type(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    _same(path, gguf_files.write(models.wide(), path, lambda _: kind))
    assert _load(path).info.weight_format == f"float32, made from GGUF {kind}"


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K", "Q6_K", "MXFP4"])
@torch.inference_mode()
def test_few_bits_stay_few(kind: str, tmp_path: Path) -> None:
    """As on a GPU."""
    path, ids = tmp_path / "model.gguf", tokens(1, 20)
    reference = gguf_files.write(models.wide(), path, lambda name: "Q6_K" if "attn_v" in name else kind)
    family = families.describe(read_gguf_config(path))
    assert family is not None
    options: Any = {"name": "x", "device": torch.device("cpu"), "dtype": torch.float32, "context": 64, "slots": 1}
    tensors = GgufTensors(path)
    model = eager.load(tensors, family, Quantization(stored=tensors.packed, packed=True), **options)
    assert model.weights.layers[0].down.format in ("int4", "int8", "mxfp4")
    assert tensors.unused() == []
    close(model.run(Batch(ids, [0], [0], 20)).logits, full(reference, ids))


@torch.inference_mode()
def test_a_tied_head_stays_in_few_bits(tmp_path: Path) -> None:
    """As on a GPU, where it is read for every token; the embedding is plain, and counted once."""
    path, ids = tmp_path / "model.gguf", tokens(1, 20)
    kinds = {"token_embd.weight": "Q8_0"}
    reference = gguf_files.write(models.build("llama-tied-biased"), path, lambda name: kinds.get(name, "F32"))
    tensors, family = GgufTensors(path), families.describe(read_gguf_config(path))
    assert family is not None
    options: Any = {"name": "x", "device": torch.device("cpu"), "dtype": torch.float32, "context": 64, "slots": 1}
    model = eager.load(tensors, family, Quantization(stored=tensors.packed, packed=True), **options)
    assert model.weights.head.format == "int8"
    assert model.info.parameters == sum(p.numel() for p in reference.parameters())
    close(model.run(Batch(ids, [0], [0], 20)).logits, full(reference, ids))


def test_types_mixed_by_tensor(tmp_path: Path) -> None:
    path, kinds = tmp_path / "model.gguf", {"attn_v": "Q6_K", "ffn_down": "Q6_K", "token_embd": "Q8_0"}
    mixed = gguf_files.write(models.wide(), path, lambda name: next((k for n, k in kinds.items() if n in name), "Q4_K"))
    _same(path, mixed)


@pytest.mark.parametrize("kind", ["llama", "llama-tied-biased", "llama-head-dim", "qwen2", "qwen3"])
def test_every_family(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    reference = gguf_files.write(models.build(kind), path)
    model = _load(path)
    assert model.info.parameters == sum(p.numel() for p in reference.parameters())
    with torch.inference_mode():
        for check in models.ALL_CHECKS:
            check(model, reference)


def test_positions_are_scaled_as_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    scaled = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    _same(path, gguf_files.write(models.build("llama-linear"), path, more=scaled))
    yarn = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 24,
    }
    _same(path, gguf_files.write(models.build("llama-yarn"), path, more=yarn))


def test_llama3_positions_are_a_tensor(tmp_path: Path) -> None:
    path, reference = tmp_path / "model.gguf", models.build("llama-llama3")
    plain = 1.0 / (10000.0 ** (torch.arange(0, 8, 2) / 8))
    factors = (plain / reference.model.rotary_emb.inv_freq).numpy()
    _same(path, gguf_files.write(reference, path, more={"rope_freqs.weight": factors}))


def test_a_split_model_is_one(tmp_path: Path) -> None:
    reference = gguf_files.write(models.build("llama"), tmp_path / "model.gguf", split_max_tensors=8)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) > 2
    assert resolve(tmp_path) == parts[0]
    _same(parts[-1], reference)
    parts[1].unlink()
    with pytest.raises(CheckpointCorrupt, match=rf"no file .*{parts[1].name}; expected all {len(parts)} parts"):
        _load(parts[0])


def test_defaults_and_ends_are_the_files(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    assert generation_defaults(path) == ({"temperature": 0.0}, (0,))
    sampling = {"general.sampling.temp": 0.5, "general.sampling.top_k": 20, "tokenizer.ggml.eot_token_id": 7}
    more = sampling | {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.eos_token_id": 3}
    gguf_files.write(models.build("llama"), path, more=more)
    assert generation_defaults(path) == ({"temperature": 0.5, "top_k": 20}, (3, 7))


# ---- bad input


def _edited(tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    path.write_bytes(change(path.read_bytes()))
    return path


def _other_type(data: bytes) -> bytes:
    at = data.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 2 * 8
    return data[:at] + struct.pack("<I", 4321) + data[at + 4 :]


def _seven_heads(data: bytes) -> bytes:
    at = data.index(b"llama.attention.head_count") + len("llama.attention.head_count") + 4
    return data[:at] + struct.pack("<I", 7) + data[at + 4 :]


def _moved(data: bytes) -> bytes:
    at = data.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 2 * 8 + 4
    return data[:at] + struct.pack("<Q", 3) + data[at + 8 :]


def _nested(data: bytes) -> bytes:
    """Lists in lists, deeper than Python goes."""
    return data[:24] + struct.pack("<Q", 1) + b"x" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"GGML" + data[4:], r"no GGUF file: it begins b'GGML'; expected b'GGUF'"),
        (lambda data: b"version https://git-lfs" + data, "is a git-lfs pointer"),
        (lambda _: b"", "cannot be read: .*; fetch it again"),
        (
            lambda data: data.replace(b"general.architecture", b"general.architectur\xff"),
            "is damaged at byte 32; fetch it again",
        ),
        (_nested, "is damaged at byte .*; fetch it again"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "GGUF version 1; expected 2 or 3"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], r"big-endian machines\); expected 2 or 3"),
        (lambda data: data[:200], "ends before what its header names .200 bytes are there.; fetch it again"),
        (lambda data: data[:-5000], "ends before what its header names"),
        (lambda data: data.replace(b"general.architecture", b"general.architecturE"), "names no general.architecture"),
        (_moved, r"blk\.0\.attn_q\.weight begins at byte 3; expected a multiple of 32: fetch it again"),
        (_seven_heads, "32 numbers a token, 7 heads, 2 of them for keys; expected each to be a multiple of the next"),
        (_other_type, r"blk\.0\.attn_q\.weight is stored as type 4321, which is not known here"),
    ],
)
def test_files_that_are_wrong(change: Callable[[bytes], bytes], said: str, tmp_path: Path) -> None:
    path = _edited(tmp_path, change)
    with pytest.raises(LoadError, match=said) as caught:
        load_model(path, device="cpu", dtype="float32")
    assert "\n" not in str(caught.value)


def test_an_adapter_in_a_file(tmp_path: Path) -> None:
    gguf_files.write(models.build("llama"), tmp_path / "model.gguf", more={"general.type": "adapter"})
    with pytest.raises(UnsupportedModel, match="a GGUF file of the type 'adapter'; expected that of a whole model"):
        load_model(tmp_path / "model.gguf", device="cpu")


def test_memory_is_told_for_plain_numbers(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path, lambda _: "F16")
    (needs,) = foretold(path, device="cpu", dtype="float32", context=64).values()
    told, info = needs.weights, _load(path).info
    assert next(iter(foretold(path, device=torch.device("cuda"), context=64))) == "GGUF F16"
    assert told == pytest.approx(info.weight_bytes, rel=0.02)  # norms are left out


def test_a_file_is_not_quantised_again(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(UnsupportedModel, match=r"model\.gguf cannot be quantised, as a GGUF file"):
        export(path, tmp_path / "out", "int4", head=False, device=torch.device("cpu"))


def test_metadata_that_disagrees(tmp_path: Path) -> None:
    path, wrong = tmp_path / "model.gguf", models.build("llama")
    wrong.config.intermediate_size = 64
    gguf_files.write(wrong, path)
    with pytest.raises(CheckpointCorrupt, match=r"ffn_gate\.weight has shape \(48, 32\); its metadata says \(64, 32\)"):
        _load(path)
    wrong.config.num_attention_heads = 0
    gguf_files.write(wrong, path)
    with pytest.raises(CheckpointCorrupt, match=r"llama\.attention\.head_count is 0; expected a whole number"):
        _load(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"llama.expert_count": 8}, "a mixture of experts; expected llama.cpp"),
        ({"llama.rope.scaling.type": "longrope"}, "'longrope'; expected none, linear or yarn"),
        ({"blk.0.attn_sinks.weight": np.ones(4, np.float32)}, r"does not use: blk\.0\.attn_sinks\.weight"),
    ],
)
def test_models_that_are_others(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path, more=more)
    with pytest.raises(UnsupportedModel, match=said):
        _load(path)


def test_an_architecture_that_is_not_described(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    data = path.write_bytes(_edited(tmp_path, lambda data: data.replace(b"llama", b"mamba")).read_bytes())
    assert data
    with pytest.raises(UnsupportedModel, match=r"architecture 'mamba'; expected one of llama, qwen2, qwen3, or llama"):
        read_gguf_config(path)


def test_tensors_that_are_missing(tmp_path: Path) -> None:
    path = _edited(tmp_path, lambda data: data.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_UP.weight"))
    with pytest.raises(CheckpointCorrupt, match=r"lacks the tensor blk\.1\.ffn_up\.weight"):
        _load(path)


def test_large_files_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    monkeypatch.setattr(llamacpp, "find_spec", lambda _: None)
    assert isinstance(load_model(path, device="cpu", context=64), EagerModel)
    monkeypatch.setattr(llamacpp, "_SMALL", 1000)
    with pytest.raises(MissingExtra, match=r"GiB in torch; .*pip install 'specdec-engine\[gguf\]'"):
        load_model(path, device="cpu")


def test_headers_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    assert open_gguf(path) is open_gguf(path)
    before = open_gguf(path)
    gguf_files.write(models.build("qwen2"), path)
    assert open_gguf(path) is not before
