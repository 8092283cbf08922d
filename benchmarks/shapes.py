"""Models of real sizes with a known function: a small trained model inside a large one's shape.

The large model computes what the small one does: further dimensions are zero, with norm weights scaled by sqrt(h /
H) and
eps by h / H; further heads and MLP rows are random with zero output columns; further layers are random with zero output
projections; further vocabulary is pushed down through one constant dimension. So its speed is that of its shape, its
acceptance that of the trained pair, and no weights have to be fetched.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.weights.checkpoint import Safetensors, read_config, read_json

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


class Widened:
    """Tensors of a small checkpoint in the shape of `size`, made when asked for. `small`: its config."""

    def __init__(self, folder: Path, small: Any, size: Size, device: torch.device) -> None:
        self._weights, self._size, self._device, self.small = Safetensors(folder), size, device, small
        self._scale = math.sqrt(small.hidden_size / size.hidden)
        self._makers: dict[str, Callable[[str, int, Tensor], None]] = {
            "o_proj": self._out,
            **dict.fromkeys(("norm", "input_layernorm", "post_attention_layernorm"), self._norm),
            **dict.fromkeys(("q_proj", "k_proj", "v_proj"), self._heads),
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self._corner),
        }

    def __contains__(self, name: str) -> bool:
        return name.endswith(".weight") and _kind(name) in self._makers

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """See `checkpoint.TensorSource.get`."""
        layer = re.search(r"layers\.(\d+)", name)
        whole = torch.zeros(shape, dtype=torch.bfloat16, device=self._device)
        self._makers[_kind(name)](name, int(layer[1]) if layer else 0, whole)
        return whole

    def _small(self, name: str) -> Tensor:
        return self._weights.tensor(name).to(self._device, torch.float32)

    def _random(self, name: str, whole: Tensor) -> None:
        generator = torch.Generator(self._device).manual_seed(zlib.crc32(name.encode()))
        whole.normal_(0, 0.02, generator=generator)

    def _spare(self, layer: int) -> bool:
        return layer >= int(self.small.num_hidden_layers)

    def _norm(self, name: str, layer: int, whole: Tensor) -> None:
        if self._spare(layer):
            whole.fill_(1.0)
            return
        small = self._small(name)
        whole[: len(small)] = small * self._scale

    def _lanes(self) -> Tensor:
        """For each dimension of a small head, its place in a large one: halves keep their rotary frequencies."""
        small, large = self.small.head_dim, self._size.head_dim
        dims = torch.arange(small)
        half = dims // (small // 2)
        lanes: Tensor = half * (large // 2) + dims % (small // 2) * (large // small)
        return lanes

    def _places(self, heads: int, groups: int) -> Tensor:
        """For each row of the small model's heads, its row in the large one: heads keep their group."""
        count = self.small.num_attention_heads if heads != groups else self.small.num_key_value_heads
        per, wide = count // self.small.num_key_value_heads, heads // groups
        head = torch.tensor([h // per * wide + h % per for h in range(count)])
        places: Tensor = head[:, None] * self._size.head_dim + self._lanes()
        return places.flatten().to(self._device)

    def _heads(self, name: str, layer: int, whole: Tensor) -> None:
        self._random(name, whole)
        if self._spare(layer):
            return
        query = "q_proj" in name
        places = self._places(self._size.heads if query else self._size.kv_heads, self._size.kv_heads)
        heads = torch.unique(places // self._size.head_dim)
        rows = (heads[:, None] * self._size.head_dim + torch.arange(self._size.head_dim, device=self._device)).flatten()
        whole[rows] = 0
        factor = self._query_factor() if query else 1.0
        whole[places] = self._side_by_side(self._small(name) * factor).to(whole.dtype)

    def _query_factor(self) -> float:
        """Attention of larger heads divides by more."""
        return math.sqrt(self._size.head_dim / self.small.head_dim)

    def _side_by_side(self, small: Tensor) -> Tensor:
        """What reads some hidden states at once, [N, n * h] -> [N, n * H]."""
        parts = small.view(len(small), -1, self.small.hidden_size)
        padded: Tensor = F.pad(parts, (0, self._size.hidden - parts.shape[-1])).flatten(1)
        return padded

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


def _kind(name: str) -> str:
    """`q_proj` of `model.layers.0.self_attn.q_proj.weight`, `fc_norm` of `fc_norm.2.weight`."""
    return next(part for part in reversed(name.split(".")[:-1]) if not part.isdigit())


class Embedded(Widened):
    """A small model in the shape of `size` (a `checkpoint.TensorSource`). `hostile`: with random output projections,
    so that it agrees with nothing."""

    def __init__(self, small: Path, size: Size, device: torch.device, *, hostile: bool = False) -> None:
        super().__init__(small, read_config(small), size, device)
        self._makers |= {"embed_tokens": self._embedding, "lm_head": self._head}
        if hostile:
            self._makers |= dict.fromkeys(("o_proj", "down_proj"), lambda name, _, whole: self._random(name, whole))

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

    def _embedding(self, name: str, _layer: int, whole: Tensor) -> None:
        small = self._small(name)
        whole[: small.shape[0], : small.shape[1]] = small
        whole[:, small.shape[1]] = CONSTANT

    def _head(self, _name: str, _layer: int, whole: Tensor) -> None:
        small = self._small("model.embed_tokens.weight")
        whole[: small.shape[0], : small.shape[1]] = small
        whole[small.shape[0] :, small.shape[1]] = PUSH

    def _norm(self, name: str, layer: int, whole: Tensor) -> None:
        super()._norm(name, layer, whole)
        if name == "model.norm.weight":
            whole[self.small.hidden_size] = self._scale / CONSTANT


class EmbeddedHead(Widened):
    """A head that was trained for the small target, in the shape of those published for the large one. Its vocabulary
    is filled up with copies of its own tokens."""

    def __init__(self, folder: Path, size: Size, device: torch.device) -> None:
        self._config = read_json(folder / "config.json")
        super().__init__(folder, SimpleNamespace(**self._config["transformer_layer_config"]), size, device)
        self._normed = "layers.0.self_attn.q_norm.weight" in self._weights
        self._makers |= {
            "fc": self._features,
            "lm_head": self._head,
            **dict.fromkeys(("fc_norm", "hidden_norm"), self._norm),
            **dict.fromkeys(("q_norm", "k_norm"), self._head_norm),
        }

    def config(self, layers: int, draft_vocab: int) -> dict[str, Any]:
        """Of the large head."""
        s = self._size
        shape = {
            "hidden_size": s.hidden,
            "intermediate_size": s.intermediate,
            "num_attention_heads": s.heads,
            "num_key_value_heads": s.kv_heads,
            "head_dim": s.head_dim,
            "vocab_size": s.vocab,
            "num_hidden_layers": layers,
            "rms_norm_eps": self.small.rms_norm_eps * self._scale**2,
        }
        described = self._config["transformer_layer_config"] | shape
        sizes = {"target_hidden_size": s.hidden, "draft_vocab_size": draft_vocab}
        return self._config | sizes | {"transformer_layer_config": described}

    def __contains__(self, name: str) -> bool:
        return re.sub(r"layers\.\d+", "layers.0", name) in self._weights

    def ids(self, count: int) -> Tensor:
        """The target's id of each token of a draft vocabulary of so many."""
        known = self._weights.tensor("d2t") if "d2t" in self._weights else torch.zeros(self._config["draft_vocab_size"])
        own = known.long() + torch.arange(len(known))
        return own[torch.arange(count) % len(own)]

    def _features(self, name: str, _layer: int, whole: Tensor) -> None:
        small = self._small(name)
        whole[: small.shape[0]] = self._side_by_side(small)

    def _head(self, name: str, _layer: int, whole: Tensor) -> None:
        small = self._small(name)
        whole[:, : small.shape[1]] = small[torch.arange(len(whole), device=self._device) % len(small)]

    def _head_norm(self, name: str, layer: int, whole: Tensor) -> None:
        if self._spare(layer):
            whole.fill_(1.0)
            return
        factor = 1.0 if "q_norm" in name else 1 / super()._query_factor()
        whole[self._lanes().to(self._device)] = (self._small(name) * factor).to(whole.dtype)

    def _query_factor(self) -> float:
        return 1.0 if self._normed else super()._query_factor()  # a norm undoes it
