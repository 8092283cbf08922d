"""Models of real sizes with a known function: a small trained model inside a large one's shape.

The large model computes what the small one does: further dimensions are zero, with norm weights scaled by sqrt(h /
H) and
eps by h / H; further heads and MLP rows are random with zero output columns; further layers are random with zero output
projections; further vocabulary is pushed down through one constant dimension. So its speed is that of its shape, its
acceptance that of the trained pair, and no weights have to be fetched.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specdec.models.weights.checkpoint import Safetensors, read_config

CONSTANT = 1 / 64
"""What the constant dimension adds to every embedding: too little to be seen by a norm."""
PUSH = -10000.0


@dataclass(frozen=True, slots=True)
class Size:
    """A shape of the Llama family, and the released model that has it."""

    like: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int


PAIRS = {
    "8b": (
        Size("Llama-3.1-8B", 4096, 32, 32, 8, 128, 14336, 128256),
        Size("Llama-3.2-1B, untied", 2048, 16, 32, 8, 64, 8192, 128256),
    ),
    "32b": (
        Size("Qwen3-32B without its head norms", 5120, 64, 64, 8, 128, 25600, 151936),
        Size("Qwen3-0.6B without its head norms, untied", 1024, 28, 16, 8, 128, 3072, 151936),
    ),
    "tiny": (Size("nothing", 512, 9, 16, 4, 64, 1280, 9000), Size("nothing", 256, 3, 8, 4, 64, 512, 9000)),
}
"""Target and draft. A norm on the heads would change the function of a model trained without one, so the Qwen3 sizes
have none; it would add no bytes to read."""


class Embedded:
    """The tensors of a small checkpoint in the shape of `size`, made when asked for (a `checkpoint.TensorSource`).
    `hostile`: with random output projections, so that it agrees with nothing."""

    def __init__(self, small: Path, size: Size, device: torch.device, *, hostile: bool = False) -> None:
        self._hostile = hostile
        self._weights, self._size, self._device = Safetensors(small), size, device
        self.small: Any = read_config(small)
        self._scale = math.sqrt(self.small.hidden_size / size.hidden)
        self._makers: dict[str, Callable[[str, int, Tensor], None]] = {
            "embed_tokens": self._embedding,
            "lm_head": self._head,
            "o_proj": self._out,
            **dict.fromkeys(("norm", "input_layernorm", "post_attention_layernorm"), self._norm),
            **dict.fromkeys(("q_proj", "k_proj", "v_proj"), self._heads),
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self._corner),
        }

    @property
    def config(self) -> Any:
        """A transformers config of the large model."""
        from transformers import LlamaConfig

        s = self._size
        config = LlamaConfig(
            hidden_size=s.hidden,
            num_hidden_layers=s.layers,
            num_attention_heads=s.heads,
            num_key_value_heads=s.kv_heads,
            head_dim=s.head_dim,
            intermediate_size=s.intermediate,
            vocab_size=s.vocab,
            rms_norm_eps=self.small.rms_norm_eps * self._scale**2,
            rope_parameters=dict(self.small.rope_parameters),
            max_position_embeddings=self.small.max_position_embeddings,
            tie_word_embeddings=False,
            eos_token_id=self.small.eos_token_id,
            pad_token_id=self.small.pad_token_id,
            bos_token_id=None,
        )
        config.architectures = ["LlamaForCausalLM"]
        return config

    def __contains__(self, name: str) -> bool:
        known: bool = name.split(".")[-2] in self._makers
        return known and name.endswith(".weight")

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """See `checkpoint.TensorSource.get`."""
        kind, parts = name.split(".")[-2], name.split(".")
        layer = int(parts[2]) if parts[1] == "layers" else 0
        whole = torch.zeros(shape, dtype=torch.bfloat16, device=self._device)
        if self._hostile and kind in ("o_proj", "down_proj"):
            self._random(name, whole)
        else:
            self._makers[kind](name, layer, whole)
        return whole

    def _small(self, name: str) -> Tensor:
        return self._weights.tensor(name).to(self._device, torch.float32)

    def _random(self, name: str, whole: Tensor) -> None:
        generator = torch.Generator(self._device).manual_seed(zlib.crc32(name.encode()))
        whole.normal_(0, 0.02, generator=generator)

    def _spare(self, layer: int) -> bool:
        return layer >= int(self.small.num_hidden_layers)

    def _embedding(self, name: str, _layer: int, whole: Tensor) -> None:
        small = self._small(name)
        whole[: small.shape[0], : small.shape[1]] = small
        whole[:, small.shape[1]] = CONSTANT

    def _head(self, _name: str, _layer: int, whole: Tensor) -> None:
        small = self._small("model.embed_tokens.weight")
        whole[: small.shape[0], : small.shape[1]] = small
        whole[small.shape[0] :, small.shape[1]] = PUSH

    def _norm(self, name: str, layer: int, whole: Tensor) -> None:
        if self._spare(layer):
            whole.fill_(1.0)
            return
        small = self._small(name)
        whole[: len(small)] = small * self._scale
        if name == "model.norm.weight":
            whole[len(small)] = self._scale / CONSTANT

    def _places(self, heads: int, groups: int) -> Tensor:
        """For each row of the small model's heads, its row in the large one: heads keep their group, and the halves
        of a head its rotary frequencies."""
        small, large = self.small.head_dim, self._size.head_dim
        dims = torch.arange(small)
        half = dims // (small // 2)
        lane = half * (large // 2) + dims % (small // 2) * (large // small)
        count = self.small.num_attention_heads if heads != groups else self.small.num_key_value_heads
        per, wide = count // self.small.num_key_value_heads, heads // groups
        head = torch.tensor([h // per * wide + h % per for h in range(count)])
        places: Tensor = head[:, None] * large + lane
        return places.flatten().to(self._device)

    def _heads(self, name: str, layer: int, whole: Tensor) -> None:
        self._random(name, whole)
        if self._spare(layer):
            return
        query = "q_proj" in name
        small, places = (
            self._small(name),
            self._places(self._size.heads if query else self._size.kv_heads, self._size.kv_heads),
        )
        heads = torch.unique(places // self._size.head_dim)
        rows = (heads[:, None] * self._size.head_dim + torch.arange(self._size.head_dim, device=self._device)).flatten()
        whole[rows] = 0
        factor = math.sqrt(self._size.head_dim / self.small.head_dim) if query else 1.0  # attention divides by more
        whole[places, : small.shape[1]] = (small * factor).to(whole.dtype)

    def _out(self, name: str, layer: int, whole: Tensor) -> None:
        if self._spare(layer):
            return
        small = self._small(name)
        whole[: small.shape[0], self._places(self._size.heads, self._size.kv_heads)] = small.to(whole.dtype)

    def _corner(self, name: str, layer: int, whole: Tensor) -> None:
        down = "down_proj" in name
        if not down:
            self._random(name, whole)
        if self._spare(layer):
            return
        small = self._small(name)
        if not down:
            whole[: small.shape[0]] = 0
        whole[: small.shape[0], : small.shape[1]] = small
