"""A checkpoint in fewer bits, written as compressed-tensors, a form that other engines read too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from specdec.errors import InvalidRequest, UnsupportedModel, first_line
from specdec.gguf import is_gguf
from specdec.kernels.packed import codes, scales_of
from specdec.models import families
from specdec.models.families.base import ModelFamily
from specdec.models.weights import formats
from specdec.models.weights.checkpoint import INDEX, Safetensors, read_config
from specdec.models.weights.quantized import QuantizedWeight
from specdec.models.weights.rounding import group_of, of_head, rounded
from specdec.types.load import Quantize

_SHARD = 4 << 30
"""Bytes of a file."""
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")
"""Of files that hold the model in 16 bits, which is not copied."""


def export(source: Path, folder: Path, to: Quantize, *, head: bool, device: torch.device) -> None:
    """Write the checkpoint `source` to a new `folder` with the weights of its layers (and its head, in 8 bits) rounded,
    one at a time. Raises LoadError or InvalidRequest."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InvalidRequest("folder", str(folder), "a folder that is empty, or none yet")
    if is_gguf(source):
        raise UnsupportedModel(f"{source} cannot be quantised, as a GGUF file; expected the model's folder in 16 bits")
    config = read_config(source)
    formats.check(source, config)
    family = families.describe(config)
    if family is None or formats.method_of(config) is not None:
        raise UnsupportedModel(f"{source} cannot be quantised; expected Llama, Mistral, Qwen2 or Qwen3 in 16 bits")
    raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    raw["quantization_config"] = _described(to, _group(family), head=head)
    if head:
        raw["tie_word_embeddings"] = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            if file.is_file() and file.suffix not in _WEIGHTS and file.name not in (INDEX, "config.json"):
                shutil.copy(file, folder)
        with closing(Safetensors(source)) as weights:
            _write(folder, _tensors(weights, family, to, head=head, device=device))
        (folder / "config.json").write_text(json.dumps(raw, indent=2), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        expected = f"an empty folder on a disk with room, that can be written to ({first_line(error)})"
        raise InvalidRequest("folder", str(folder), expected) from error


def _group(family: ModelFamily) -> int:
    return group_of((family.hidden, family.heads * family.head_dim, family.intermediate))


def _tensors(
    weights: Safetensors, family: ModelFamily, to: Quantize, *, head: bool, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    names = family.names
    parts = {*names.qkv, names.out, *names.gate_up, names.down}
    for header in weights.headers():
        module, tensor = header.name.removesuffix(".weight"), weights.tensor(header.name)
        if header.name.endswith(".weight") and any(module.endswith(f".{part}") for part in parts):
            yield from _stored(module, rounded(tensor.to(device), to, _group(family)))
        elif not (module == names.head and head):
            yield header.name, tensor
    if head:
        tables = (names.head, f"model.{names.embedding}", names.embedding)
        table = next(name for name in (f"{table}.weight" for table in tables) if name in weights)
        yield from _stored(names.head, rounded(weights.tensor(table).to(device), of_head(to), 0))


def _stored(module: str, weight: QuantizedWeight) -> Iterator[tuple[str, Tensor]]:
    q, scales = codes(weight.packed), scales_of(weight.packed).t()
    yield f"{module}.weight_scale", scales
    if weight.format == "fp8":
        yield f"{module}.weight", q
        return
    bits = 4 if weight.format == "int4" else 8
    yield f"{module}.weight_shape", torch.tensor(q.shape)
    # unsigned, in words of 32 bits, lowest first
    unsigned = (q + 8).view(torch.uint8) if bits == 4 else q.view(torch.uint8) ^ 128
    held = F.pad(unsigned, (0, -q.shape[1] % (32 // bits)))
    held = held[:, ::2] | held[:, 1::2] << 4 if bits == 4 else held
    yield f"{module}.weight_packed", held.view(torch.int32)


def _described(to: Quantize, group: int, *, head: bool) -> dict[str, Any]:
    """The quantization_config."""

    def scheme(targets: list[str], bits: int, size: int) -> dict[str, Any]:
        kind = "float" if to == "fp8" else "int"
        strategy = {"strategy": "group", "group_size": size} if size else {"strategy": "channel"}
        weights = {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False} | strategy
        return {"targets": targets, "weights": weights, "input_activations": None, "output_activations": None}

    groups = {"group_0": scheme(["Linear"], 4 if to == "int4" else 8, group if to == "int4" else 0)}
    if head and to == "int4":
        groups["group_1"] = scheme(["re:.*lm_head"], 8, 0)
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized" if to == "fp8" else "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": [] if head else ["lm_head"],
    }


def _write(folder: Path, tensors: Iterator[tuple[str, Tensor]]) -> None:
    """Files of tensors, and their index."""
    where: dict[str, str] = {}
    held: dict[str, Tensor] = {}
    total = 0

    def flush() -> None:
        from safetensors.torch import save_file

        name = f"model-{len(set(where.values())) + 1:05d}.safetensors"
        save_file(held, folder / name, {"format": "pt"})
        where.update(dict.fromkeys(held, name))
        held.clear()

    for name, tensor in tensors:
        held[name] = tensor.cpu().contiguous()
        total += held[name].nbytes
        if sum(t.nbytes for t in held.values()) >= _SHARD:
            flush()
    if held:
        flush()
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
