"""GGUF files as checkpoints: the config that their metadata stands for, and their tensors under transformers' names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt, UnsupportedModel, extra
from specdec.gguf import GgufFile, GgufTensor, open_gguf
from specdec.models.weights.checkpoint import Header
from specdec.models.weights.quantized import QuantizedWeight
from specdec.models.weights.repacked import repacked

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""By GGUF's name, which is transformers' model_type too. Mistral is written as llama."""
_PERMUTED = frozenset({"llama"})
"""Architectures whose rotary pairs lie side by side in the file, and half a head apart everywhere else."""
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
ROPE_FACTORS = "rope_freqs.weight"
"""What each rotary frequency is divided by: how a file holds Llama 3's long context."""
_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_gguf_config(path: Path) -> Any:
    """The transformers config of a file. Raises UnsupportedModel for architectures that are not described here."""
    file = open_gguf(path)
    from transformers import AutoConfig

    if file.architecture not in ARCHITECTURES:
        raise UnsupportedModel(
            f"{path} holds a model of the architecture {file.architecture!r}; expected one of "
            f"{', '.join(ARCHITECTURES)}, or llama.cpp to run it (device='cpu')"
        )
    if file.of_model("expert_count", 0):
        raise UnsupportedModel(f"{path} holds a mixture of experts; expected llama.cpp to run it (device='cpu')")
    heads, hidden = _number(file, "attention.head_count"), _number(file, "embedding_length")
    kv_heads = _number(file, "attention.head_count_kv", heads)
    if hidden % heads or heads % kv_heads:
        shape = f"{hidden} numbers a token, {heads} heads, {kv_heads} of them for keys"
        raise CheckpointCorrupt(f"{path} says {shape}; expected each to be a multiple of the next")
    head_dim = _number(file, "attention.key_length", hidden // heads)
    if (embedding := file.tensors.get("token_embd.weight")) is None:
        raise CheckpointCorrupt(f"{path} lacks the tensor token_embd.weight; expected a GGUF file of a whole model")
    kinds = {tensor.type for tensor in file.tensors.values() if len(tensor.shape) > 1}
    return AutoConfig.for_model(
        file.architecture,
        architectures=[ARCHITECTURES[file.architecture]],
        hidden_size=hidden,
        intermediate_size=_number(file, "feed_forward_length"),
        num_hidden_layers=_number(file, "block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=_number(file, "context_length"),
        rms_norm_eps=file.of_model("attention.layer_norm_rms_epsilon", 1e-5),
        vocab_size=embedding.shape[0],  # the list of names may be shorter, or longer than what is said
        tie_word_embeddings="output.weight" not in file.tensors,
        rope_parameters=_rope(file, head_dim),
        dtype=torch.float16 if kinds <= {"F16", "F32"} and "F16" in kinds else torch.bfloat16,
    )


def rope_factors(path: Path) -> Tensor | None:
    """What the inverse frequencies are divided by, [head_dim / 2] fp32; None where the file says nothing."""
    found = open_gguf(path).tensors.get(ROPE_FACTORS)
    return None if found is None else dequantized(found)


def _number(file: GgufFile, key: str, default: int | None = None) -> int:
    value = file.of_model(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointCorrupt(f"{file.path}: {file.architecture}.{key} is {value!r}; expected a whole number")
    return value


def _rope(file: GgufFile, head_dim: int) -> dict[str, Any]:
    found = {"rope_type": "default", "rope_theta": file.of_model("rope.freq_base", 10000.0)}
    if (turned := _number(file, "rope.dimension_count", head_dim)) != head_dim:
        found["partial_rotary_factor"] = turned / head_dim
    kind = file.of_model("rope.scaling.type", "none")
    if kind == "none" or ROPE_FACTORS in file.tensors:
        return found
    if kind not in ("linear", "yarn"):
        raise UnsupportedModel(f"{file.path} scales its positions by {kind!r}; expected none, linear or yarn")
    found |= {"rope_type": kind, "factor": file.of_model("rope.scaling.factor", 1.0)}
    if kind == "yarn":
        found["original_max_position_embeddings"] = _number(file, "rope.scaling.original_context_length")
    return found


def dequantized(tensor: GgufTensor) -> Tensor:
    """The numbers that a tensor stands for: in its own type if they are plain, else fp32."""
    if (plain := _FLOATS.get(tensor.type)) is not None:
        return torch.from_numpy(tensor.data.copy()).view(plain)
    with extra("gguf", "a GGUF file"):
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize
    try:
        return torch.from_numpy(dequantize(tensor.data, GGMLQuantizationType[tensor.type]))
    except NotImplementedError as error:
        raise UnsupportedModel(f"{tensor.name} is stored as {tensor.type}, which cannot be read here") from error


class GgufTensors:
    """The tensors of a file under transformers' names (a `TensorSource`), dequantised when asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, open_gguf(path)
        self._names = {name: stored for stored in self._file.tensors if (name := _name(stored))}
        self._used: set[str] = {ROPE_FACTORS}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor, checked against the shape that the metadata implies."""
        return dequantized(self.stored(name, shape))

    def stored(self, name: str, shape: tuple[int, ...]) -> GgufTensor:
        """The same as it lies in the file, its rows in transformers' order."""
        if name not in self._names:
            raise CheckpointCorrupt(f"{self.path} lacks the tensor {_gguf_name(name)}")
        tensor = self._file.tensors[self._names[name]]
        if tensor.shape != shape:
            raise CheckpointCorrupt(f"{self.path}: {tensor.name} has shape {tensor.shape}; its metadata says {shape}")
        self._used.add(tensor.name)
        part = name.split(".")[-2]
        if self._file.architecture not in _PERMUTED or part not in ("q_proj", "k_proj"):
            return tensor
        # rows by head are [half, 2] in the file, and [2, half] to transformers
        query_heads = _number(self._file, "attention.head_count")
        heads = query_heads if part == "q_proj" else _number(self._file, "attention.head_count_kv", query_heads)
        by_pair = tensor.data.reshape(heads, tensor.shape[0] // heads // 2, 2, -1)
        data = by_pair.swapaxes(1, 2).reshape(tensor.data.shape)
        return GgufTensor(tensor.name, tensor.shape, tensor.type, data)

    def packed(self, module: str, shape: tuple[int, int], device: torch.device) -> QuantizedWeight | None:
        """The weight of a module in few bits; None for one that is plain, or not there."""
        name = f"{module}.weight"
        return repacked(self.stored(name, shape), device) if name in self else None

    def headers(self) -> Iterator[Header]:
        """Of all tensors, without reading them."""
        for name, stored in self._names.items():
            tensor = self._file.tensors[stored]
            yield Header(name, tensor.shape, tensor.type)

    def unused(self) -> list[str]:
        """The tensors that nobody has asked for, by the file's names."""
        return [name for name in self._file.tensors if name not in self._used]

    def close(self) -> None:
        """See `Safetensors.close`: the file stays mapped while it is remembered."""


def _name(stored: str) -> str | None:
    """transformers' name of a tensor; None for one that has none."""
    at, _, kind = stored.rpartition(".")
    if at in _NAMES:
        return f"{_NAMES[at]}.{kind}"
    part = at.split(".", 2)
    if len(part) == 3 and part[0] == "blk" and part[2] in _LAYER_NAMES:
        return f"model.layers.{part[1]}.{_LAYER_NAMES[part[2]]}.{kind}"
    return None


def _gguf_name(name: str) -> str:
    """The file's name of a tensor of transformers."""
    at, _, kind = name.rpartition(".")
    inverse = {theirs: ours for ours, theirs in _NAMES.items()}
    if at in inverse:
        return f"{inverse[at]}.{kind}"
    _, _, layer, part = at.split(".", 3)
    return f"blk.{layer}.{ {theirs: ours for ours, theirs in _LAYER_NAMES.items()}[part] }.{kind}"
