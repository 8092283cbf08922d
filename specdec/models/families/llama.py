"""Llama, Mistral, Qwen2 and Qwen3."""

from __future__ import annotations

from typing import Any

from specdec.models import rope
from specdec.models.families.base import ModelFamily


def describe(config: Any) -> ModelFamily | None:
    """See `families.describe`."""
    rotary, types = config.rope_parameters, getattr(config, "layer_types", None)
    if (
        config.hidden_act != "silu"
        or rotary.get("rope_type") not in rope.KINDS
        or rotary.get("partial_rotary_factor", 1.0) != 1.0
        or set(types or ()) - {"full_attention", "sliding_attention"}
    ):
        return None
    window: int | None = getattr(config, "sliding_window", None)
    if types is None:  # then the model_type says which layers have the window
        types = ["sliding_attention" if config.model_type == "mistral" else "full_attention"]
        types *= config.num_hidden_layers
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return ModelFamily(
        architecture=(config.architectures or [config.model_type])[0],
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head_dim=head_dim,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        eps=config.rms_norm_eps,
        tied=bool(config.tie_word_embeddings),
        windows=tuple(window if kind == "sliding_attention" else None for kind in types),
        rope=rope.frequencies(config, head_dim),
    )
