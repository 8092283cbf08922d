"""What other programs write down in few bits is read as they read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from specdec.errors import CheckpointCorrupt, InvalidRequest, UnsupportedModel
from specdec.models.base import Batch
from specdec.models.loading import foretold, load_model
from specdec.models.weights.methods import reader
from specdec.models.weights.quantized import QuantizedWeight
from tests.models import models

CPU = torch.device("cpu")
N, K = 64, 128
Tensors = dict[str, Tensor]


class Held:
    """Tensors by name, of a module called m."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = {f"m.{name}": tensor.contiguous() for name, tensor in tensors.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        found = self.tensors[name]
        if tuple(found.shape) != shape:
            raise CheckpointCorrupt(f"{name} has shape {tuple(found.shape)}; expected {shape}")
        return found


def _read(values: dict[str, Any], tensors: Tensors, shape: tuple[int, int] = (N, K)) -> QuantizedWeight:
    method = reader(values)
    assert method is not None
    found = method(Held(tensors), "m", shape, CPU)
    assert found is not None
    return found


def _words(numbers: Tensor, bits: int) -> Tensor:
    """Unsigned numbers [n, 32 / bits * m] in words [n, m] of 32 bits, the first lowest."""
    each = 32 // bits
    parts = numbers.long().view(len(numbers), -1, each)
    words = sum(parts[:, :, i] << (bits * i) for i in range(each))
    assert isinstance(words, Tensor)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def _close(found: QuantizedWeight, wanted: Tensor) -> None:
    torch.testing.assert_close(found.dequantized(torch.float32).double(), wanted, rtol=1e-6, atol=1e-9)


def _scheme(form: str, **weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}}


COMPRESSED: list[tuple[str, dict[str, Any]]] = [
    ("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}),
    ("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": False}),
    ("pack-quantized", {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}),
    ("pack-quantized", {"num_bits": 8, "type": "int", "strategy": "tensor", "symmetric": False}),
    ("pack-quantized", {"num_bits": 8, "type": "int", "strategy": "block", "block_structure": [32, 64]}),
    ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}),
    ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": False}),
    ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}),
    ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}),
]


@pytest.mark.parametrize(("form", "weights"), COMPRESSED)
def test_compressed_tensors(form: str, weights: dict[str, Any]) -> None:
    """Against the package that such checkpoints are named after."""
    package = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    torch.manual_seed(0)
    weight = torch.randn(N, K)
    groups = K // weights.get("group_size", K)
    scale = weight.view(N, groups, -1).abs().amax(-1) / (100 if weights["num_bits"] == 8 else 7)
    scale = scale.max().view(1) if weights["strategy"] == "tensor" else scale
    if rows_columns := weights.get("block_structure"):
        scale = 0.03 + torch.rand(N // rows_columns[0], K // rows_columns[1]) / 100
    held = {"weight": weight, "weight_scale": scale}
    if not weights.get("symmetric", True):
        held["weight_zero_point"] = torch.randint(-3, 4, scale.shape, dtype=torch.int8)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=quantization.QuantizationArgs(**weights))
    compressor = package.BaseCompressor.get_value_from_registry(form)
    stored = compressor.compress(held, scheme)
    _close(_read(_scheme(form, **weights), stored), compressor.decompress(stored, scheme)["weight"].double())


def test_zeros_that_are_not_packed() -> None:
    """As llm-compressor wrote them at first."""
    q, zeros = torch.randint(-8, 8, (N, K)), torch.randint(-8, 8, (N, K // 32), dtype=torch.int8)
    held = {"weight_packed": _words(q + 8, 4), "weight_scale": torch.rand(N, K // 32) + 0.1, "weight_zero_point": zeros}
    wanted = (q - zeros.repeat_interleave(32, 1)).double() * held["weight_scale"].double().repeat_interleave(32, 1)
    _close(_read(_scheme(*COMPRESSED[1][:1], **COMPRESSED[1][1]), held), wanted)


def test_compressed_tensors_in_mxfp4() -> None:
    q, scales = torch.randint(0, 16, (N, K), dtype=torch.uint8), torch.randint(118, 124, (N, K // 32)).byte()
    held = {"weight_packed": q[:, ::2] | q[:, 1::2] << 4, "weight_scale": scales}
    values = _scheme("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32)
    _close(_read(values, held), _mxfp4(q, scales))


def _mxfp4(q: Tensor, scales: Tensor) -> Tensor:
    sizes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
    numbers = sizes[(q & 7).long()] * (1 - 2.0 * (q >> 3).double())
    return numbers * 2 ** (scales.double().repeat_interleave(32, 1) - 127)


def test_mxfp4_as_in_gpt_oss() -> None:
    q, scales = torch.randint(0, 16, (N, K), dtype=torch.uint8), torch.randint(118, 124, (N, K // 32)).byte()
    blocks = (q[:, ::2] | q[:, 1::2] << 4).view(N, K // 32, 16)
    _close(_read({"quant_method": "mxfp4"}, {"weight_blocks": blocks, "weight_scales": scales}), _mxfp4(q, scales))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("ordered", [False, True])
def test_gptq(bits: int, version: str, *, ordered: bool) -> None:
    torch.manual_seed(bits)
    group, most = 32, 1 << bits
    groups = K // group
    q, zeros = torch.randint(0, most, (K, N)), torch.randint(0, most, (groups, N))
    scales = torch.rand(groups, N).half() + 0.01
    belongs = torch.randperm(K) // group if ordered else torch.arange(K) // group
    wanted = ((q - zeros[belongs]).double() * scales[belongs].double()).t()
    held = {
        "qweight": _words(q.t(), bits).t(),
        "qzeros": _words(zeros, bits) - (0xFFFFFFFF // (most - 1) if version == "gptq" else 0),  # as gptqmodel does
        "scales": scales,
        "g_idx": belongs.to(torch.int32),
    }
    values = {"quant_method": "gptq", "bits": bits, "group_size": group, "checkpoint_format": version}
    found = _read(values, held)
    assert (found.packed.order is not None) == ordered
    _close(found, wanted)


def test_modules_of_their_own_bits_and_groups() -> None:
    """As gptqmodel's `dynamic` gives them: the tensors tell."""
    q, scales = torch.randint(0, 256, (K, N)), torch.rand(K // 32, N).half() + 0.01
    zeros = _words(torch.full((K // 32, N), 127), 8)
    held = {"qweight": _words(q.t(), 8).t(), "qzeros": zeros, "scales": scales}
    values = {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"m": {"bits": 8, "group_size": 32}}}
    _close(_read(values, held), ((q - 128).double() * scales.double().repeat_interleave(32, 0)).t())
    with pytest.raises(CheckpointCorrupt, match=r"m.qweight has shape .* its config says 64x128 in 4 or 8 bits"):
        _read(values, held | {"qweight": held["qweight"][:12]})
    with pytest.raises(CheckpointCorrupt, match=r"m.scales has shape \(3, 64\); expected 64 columns, and rows that"):
        _read(values, held | {"scales": scales[:3]})


def test_symmetric_gptq_needs_no_zeros() -> None:
    q, scales = torch.randint(0, 16, (K, N)), torch.rand(1, N).half() + 0.01
    held = {"qweight": _words(q.t(), 4).t(), "qzeros": _words(torch.full((1, N), 7), 4), "scales": scales}
    found = _read({"quant_method": "gptq", "bits": 4, "group_size": -1}, held)
    assert found.packed.shift is None
    _close(found, ((q - 8).double() * scales.double()).t())


def test_awq() -> None:
    torch.manual_seed(0)
    group, order = 64, [0, 2, 4, 6, 1, 3, 5, 7]
    q, zeros = torch.randint(0, 16, (K, N)), torch.randint(0, 16, (K // group, N))
    scales = torch.rand(K // group, N).half() + 0.01

    def mixed(numbers: Tensor) -> Tensor:
        return _words(numbers.view(len(numbers), -1, 8)[:, :, order].flatten(1), 4)

    held = {"qweight": mixed(q), "qzeros": mixed(zeros), "scales": scales}
    wanted = ((q - zeros.repeat_interleave(group, 0)).double() * scales.double().repeat_interleave(group, 0)).t()
    _close(_read({"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}, held), wanted)


@pytest.mark.parametrize("columns", [256, 192])
def test_blocks_of_fp8(columns: int) -> None:
    q, scales = torch.randn(columns, 256).to(torch.float8_e4m3fn), torch.rand(-(-columns // 128), 2) + 0.1
    wide = scales.double().repeat_interleave(128, 0)[:columns].repeat_interleave(128, 1)
    values = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    _close(_read(values, {"weight": q, "weight_scale_inv": scales}, (columns, 256)), q.double() * wide)


@pytest.mark.parametrize(
    "values",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": "all"},
        {"quant_method": "fp8", "weight_block_size": [128]},
        {"quant_method": "compressed-tensors", "config_groups": [{"weights": {"num_bits": 4}}]},
    ],
)
def test_a_config_that_makes_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointCorrupt, match=r"a quantization_config of .* does not make sense"):
        reader(values)


@pytest.mark.parametrize("values", [{"quant_method": "fp8"}, _scheme(*COMPRESSED[-1][:1], **COMPRESSED[-1][1])])
def test_another_float_of_eight_bits(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"numbers in torch\.float8_e5m2; expected"):
        _read(values, {"weight": torch.ones(N, K).to(torch.float8_e5m2), "weight_scale": torch.ones(1)})


def test_what_is_left_plain() -> None:
    for values in (_scheme(*COMPRESSED[0][:1], **COMPRESSED[0][1]), {"quant_method": "fp8"}, {"quant_method": "mxfp4"}):
        method = reader(values)
        assert method is not None
        assert method(Held({"weight": torch.ones(N, K)}), "m", (N, K), CPU) is None


@pytest.mark.parametrize(
    "values",
    [
        {"quant_method": "bitsandbytes"},
        {"quant_method": "gptq", "bits": 3},
        {"quant_method": "awq", "bits": 4, "version": "gemv"},
        _scheme("nvfp4-pack-quantized", num_bits=4, type="float", group_size=16),
        _scheme("pack-quantized", num_bits=2, type="int"),
        _scheme("pack-quantized", num_bits=4, type="int") | {"transform_config": {"R1": {}}},
    ],
)
def test_what_is_not_read(values: dict[str, Any]) -> None:
    assert reader(values) is None


def _quantized_folder(folder: Path, kind: str = "llama") -> Tensors:
    """A checkpoint of rounded weights as this package writes them, and the numbers that they stand for."""
    models.save(models.build(kind), folder)
    tensors = load_file(folder / "model.safetensors")
    numbers = dict(tensors)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        weight = tensors.pop(name)
        scale = weight.abs().amax(1, keepdim=True) / 7
        q = (weight / scale).round().clamp(-8, 7).to(torch.int8)
        at, missing = name.removesuffix(".weight"), -weight.shape[1] % 8
        tensors[f"{at}.weight_packed"] = _words(torch.nn.functional.pad(q + 8, (0, missing)), 4)
        tensors[f"{at}.weight_scale"] = scale
        tensors[f"{at}.weight_shape"] = torch.tensor(weight.shape)
        tensors[f"{at}.input_scale"] = torch.ones(1)
        numbers[name] = q * scale
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    raw = json.loads((folder / "config.json").read_text())
    scheme = _scheme("pack-quantized", num_bits=4, type="int", strategy="channel", symmetric=True)
    scheme |= {"quantization_status": "compressed", "ignore": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(raw | {"quantization_config": scheme}))
    return numbers


def test_a_checkpoint(tmp_path: Path) -> None:
    numbers = _quantized_folder(tmp_path)
    reference = models.build("llama")
    reference.load_state_dict(numbers)
    model, ids = load_model(tmp_path, device="cpu"), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))
    assert model.info.parameters == reference.num_parameters()
    assert model.info.backend == "eager"
    assert model.info.weight_format == "float32, made from compressed-tensors"


def test_an_embedding_in_few_bits(tmp_path: Path) -> None:
    numbers = _quantized_folder(tmp_path)
    tensors, at = load_file(tmp_path / "model.safetensors"), "model.embed_tokens"
    q, scale = torch.randint(-8, 8, (models.VOCAB, 32)), torch.rand(models.VOCAB, 1)
    tensors |= {f"{at}.weight_packed": _words(q + 8, 4), f"{at}.weight_scale": scale}
    del tensors[f"{at}.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    reference = models.build("llama")
    reference.load_state_dict(numbers | {f"{at}.weight": q * scale})
    model, ids = load_model(tmp_path, device="cpu"), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))


def test_what_is_said_of_activations(tmp_path: Path) -> None:
    _quantized_folder(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    raw["quantization_config"]["config_groups"]["group_0"]["input_activations"] = {"num_bits": 8, "dynamic": True}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert load_model(tmp_path, device="cpu").info.weight_format.endswith("; activations stay in float32")


def test_what_transformers_makes_plain_takes_what_plain_weights_do(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    numbers = _quantized_folder(tmp_path, "gemma")
    model = load_model(tmp_path, device="cpu")
    assert model.info.weight_format == "float32, made from compressed-tensors"
    told = foretold(tmp_path, device="cpu")["compressed-tensors"].weights
    assert told == 4 * sum(number.numel() for number in numbers.values())
    reference, ids = models.build("gemma"), models.tokens(1, 9)
    reference.load_state_dict(numbers, strict=False)
    with torch.inference_mode():
        models.close(model.run(Batch(ids, [0], [0], 9)).logits, models.full(reference, ids))


def test_a_checkpoint_that_is_quantised_already(tmp_path: Path) -> None:
    _quantized_folder(tmp_path)
    with pytest.raises(InvalidRequest, match="whose weights are quantised already"):
        load_model(tmp_path, device="cpu", quantize="int8")


def test_shapes_that_disagree_with_the_config(tmp_path: Path) -> None:
    _quantized_folder(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"intermediate_size": 64}))
    with pytest.raises(CheckpointCorrupt, match=r"gate_proj.weight_shape says \(48, 32\); its config says \(64, 32\)"):
        load_model(tmp_path, device="cpu")


def test_quantising_what_transformers_runs(tmp_path: Path) -> None:
    models.save(models.build("gemma"), tmp_path)
    with pytest.raises(InvalidRequest, match="which transformers runs"):
        load_model(tmp_path, device="cpu", quantize="int4")
    with pytest.raises(InvalidRequest, match="which transformers runs"):
        load_model(tmp_path, device="cpu", quantize_head=True)


@pytest.mark.parametrize(("to", "worst"), [("int4", 0.12), ("int8", 0.008), ("fp8", 0.04)])
def test_rounding_on_load(to: Any, worst: float, tmp_path: Path) -> None:
    """Each number moves by half a step at most, so the weights keep so much of themselves."""
    from specdec.models.weights.rounding import rounded

    torch.manual_seed(0)
    weight = torch.randn(48, 160)
    found = rounded(weight, to, 32).dequantized(torch.float32)
    assert ((found - weight).norm() / weight.norm()).item() < worst
    models.save(models.build("llama"), tmp_path)
    model = load_model(tmp_path, device="cpu", quantize=to, quantize_head=True)
    plain, ids = load_model(tmp_path, device="cpu"), models.tokens(1, 9)
    with torch.inference_mode():
        found, wanted = (each.run(Batch(ids, [0], [0], 9)).logits for each in (model, plain))
    assert 0 < ((found - wanted).norm() / wanted.norm()).item() < 10 * worst


def test_groups_that_no_kernel_takes(tmp_path: Path) -> None:
    _quantized_folder(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.self_attn.o_proj.weight_scale"
    tensors[name] = tensors[name].repeat(1, 4)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedModel, match="o_proj has groups of 8; expected a multiple of 16"):
        load_model(tmp_path, device="cpu")


def test_codes_without_their_scales(tmp_path: Path) -> None:
    models.save(models.build("llama"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(CheckpointCorrupt, match=r"is stored as torch\.float8_e4m3fn, and nothing scales it"):
        load_model(tmp_path, device="cpu")


def test_a_pickle_is_never_opened_for_it(tmp_path: Path) -> None:
    _quantized_folder(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointCorrupt, match=r"in pickles alone \(pytorch_model\.bin\), .* expected safetensors"):
        load_model(tmp_path, device="cpu")
