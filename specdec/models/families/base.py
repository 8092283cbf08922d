"""What a family of models is made of: sizes, constants and tensor names, read from a config. No device code."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Names:
    """Where a checkpoint keeps its tensors, below the prefix of its decoder."""

    embedding: str = "embed_tokens"
    layer: str = "layers.{index}"
    norm: str = "norm"
    head: str = "lm_head"
    """At the top, beside the decoder."""
    qkv: tuple[str, str, str] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    out: str = "self_attn.o_proj"
    head_norms: tuple[str, str] = ("self_attn.q_norm", "self_attn.k_norm")
    gate_up: tuple[str, str] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    input_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Decoder layers of attention and a gated MLP, each behind an RMS norm, with rotary positions."""

    architecture: str
    """As the checkpoint names it."""
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    eps: float
    tied: bool
    """Whether the head is the embedding."""
    windows: tuple[int | None, ...]
    """Per layer: how many positions, itself included, a token attends to; None: all."""
    rope: tuple[Tensor, float]
    """Inverse frequencies [head_dim / 2] fp32, and the factor on cos and sin."""
    names: Names = Names()

    @property
    def group(self) -> int:
        """Query heads of one key/value head."""
        return self.heads // self.kv_heads

    @property
    def window(self) -> int | None:
        """How many positions back any of the layers looks; None: all."""
        looks = [window for window in self.windows if window is not None]
        return max(looks) if len(looks) == len(self.windows) else None

    @property
    def layers(self) -> int:
        return len(self.windows)
