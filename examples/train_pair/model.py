"""A Llama as small as it gets, with the parameter names that Transformers uses.

Contract: `Llama(shape)(ids, sight)` gives the final hidden states and `logits` turns those into scores; its
`state_dict` loads into `LlamaForCausalLM` unchanged. `sight` decides which earlier tokens are seen, so that rows can be
packed with several documents that do not see each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Sight = Tensor | BlockMask | None
"""Which earlier tokens are seen: booleans [batch, 1, queries, keys], blocks for the GPU's kernel, or (None) all."""


@dataclass(frozen=True)
class Shape:
    """The numbers that make a Llama."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    head: int = 64
    vocabulary: int = 8192
    theta: float = 10000.0
    context: int = 2048

    def config(self) -> dict[str, Any]:
        """The same numbers as Transformers' `LlamaConfig` takes them."""
        return {
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.inner,
            "head_dim": self.head,
            "vocab_size": self.vocabulary,
            "rope_theta": self.theta,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-5,
        }


TARGET = Shape(width=384, layers=8, heads=6, kv_heads=2, inner=1024)
TINY = Shape(width=64, layers=2, heads=2, kv_heads=1, inner=128, head=32)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, halves rotated against each other."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Norm(nn.Module):
    """Root-mean-square norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale to unit mean square."""
        return F.rms_norm(x.float(), (x.shape[-1],), eps=1e-5).mul(self.weight).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head = shape.head
        self.q_proj = nn.Linear(shape.width, shape.heads * shape.head, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * shape.head, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * shape.head, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, sight: Sight) -> Tensor:
        """Mix in what earlier tokens hold."""
        q, k, v = (p(x).unflatten(-1, (-1, self.head)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if sight is None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        elif isinstance(sight, Tensor):
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=sight, enable_gqa=True)
        else:
            mixed = flex_attention(q, k, v, block_mask=sight, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Gated feed-forward."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """SiLU-gated."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention, then feed-forward, each added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = Norm(shape.width)
        self.post_attention_layernorm = Norm(shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, sight: Sight) -> Tensor:
        """One layer."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, sight)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Body(nn.Module):
    """Everything under the head, so that names read "model.layers.0..."."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)


class Llama(nn.Module):
    """The model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.compute = torch.float32  # what flows between the layers; bfloat16 on a GPU
        self.model = Body(shape)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02 if weight.shape[0] == shape.vocabulary else weight.shape[1] ** -0.5)
        for layer in self.model.layers:
            for last in (layer.self_attn.o_proj, layer.mlp.down_proj):  # type: ignore[union-attr]
                nn.init.zeros_(last.weight)  # type: ignore[arg-type, union-attr]

    def forward(self, ids: Tensor, sight: Sight) -> Tensor:
        """Hidden states after the last norm."""
        where = torch.arange(ids.shape[1], device=ids.device)[None]
        half = torch.arange(0, self.shape.head, 2, device=ids.device, dtype=torch.float32) / self.shape.head
        angle = where.float()[:, None, :, None] * self.shape.theta**-half
        cos, sin = angle.cos(), angle.sin()
        x = self.model.embed_tokens(ids).to(self.compute)
        for layer in self.model.layers:
            x = layer(x, cos, sin, sight)
        return self.model.norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary, by the tied embedding."""
        return F.linear(hidden, self.model.embed_tokens.weight.to(hidden.dtype))


def documents(ids: Tensor, end: int) -> Tensor:
    """The number of the document that each token belongs to, in its row; a document ends with `end`."""
    return F.pad((ids == end).cumsum(1)[:, :-1], (1, 0))


def packed(ids: Tensor, end: int) -> Sight:
    """Causal sight inside each document: by blocks on a GPU, by a dense mask elsewhere."""
    owner, length = documents(ids, end), ids.shape[1]
    if not ids.is_cuda:
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        return (owner[:, None, :, None] == owner[:, None, None, :]) & causal

    def sees(b: Tensor, _: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (q >= k) & (owner[b, q] == owner[b, k])

    return _make_blocks(sees, ids.shape[0], None, length, length, device="cuda")


_make_blocks = torch.compile(create_block_mask, dynamic=False)
