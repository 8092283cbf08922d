"""Llama, Mistral, Qwen2 and Qwen3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from specdec.models import rope
from specdec.models.families.base import Family

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")


def unsupported(config: Any) -> str | None:
    """What of this config the family is not, or None."""
    if config.model_type not in MODEL_TYPES:
        return f"model_type {config.model_type}"
    if config.hidden_act != "silu":
        return f"hidden_act {config.hidden_act}"
    if getattr(config, "quantization_config", None) is not None:
        return "quantization_config"
    parameters = config.rope_parameters
    if parameters.get("rope_type") not in rope.KINDS or parameters.get("partial_rotary_factor", 1.0) != 1.0:
        return f"rope_parameters {parameters}"
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"layer_types {sorted(set(config.layer_types))}"
    return None


def describe(config: Any) -> Family:
    """The family's sizes for a config that is not `unsupported`."""
    heads = config.num_attention_heads
    return Family(
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        eps=config.rms_norm_eps,
        tied=bool(config.tie_word_embeddings),
        windows=_windows(config),
    )


def _windows(config: Any) -> tuple[int | None, ...]:
    window: int | None = getattr(config, "sliding_window", None)
    types: Sequence[str] | None = getattr(config, "layer_types", None)
    if types is None:
        layers = int(config.num_hidden_layers)
        return (window if config.model_type == "mistral" else None,) * layers
    return tuple(window if kind == "sliding_attention" else None for kind in types)
