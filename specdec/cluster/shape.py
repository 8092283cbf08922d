"""What a checkpoint weighs and what a token of its context takes, read from its files without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specdec.errors import CheckpointCorrupt, CheckpointNotFound

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_HUB_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Of one model."""

    name: str
    weight_bytes: int
    """As the files store them."""
    layers: int
    kv_heads: int
    head_dim: int
    dtype_bytes: int
    context: int
    """The most that it was made for."""

    @property
    def kv_bytes(self) -> int:
        """Of one token, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype_bytes


def shape(name: str, dtype: str) -> ModelShape:
    """Raises CheckpointNotFound or CheckpointCorrupt."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        patterns = ["config.json", "*.index.json"]  # the two small files that tell a model's shape
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, etag_timeout=_HUB_SECONDS))
        except Exception as error:  # the hub, its cache and the network each have their own kinds
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointNotFound(
                f"{name} is no folder here, and the hub does not give its config: {why}"
            ) from error
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        if not stored:
            index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
            stored = int(index["metadata"]["total_size"])
        return _shape(name, config.get("text_config", config), stored, dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointCorrupt(
            f"{folder}: config.json and the safetensors do not tell the model's shape ({error})"
        ) from error


def _shape(name: str, config: Mapping[str, Any], stored: int, dtype: str) -> ModelShape:
    own = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    run, kept = _BYTES[own if dtype == "auto" else dtype], _BYTES[own]
    if "kv_lora_rank" in config:  # a compressed cache (MLA) is one head that keys and values share
        kv_heads, head_dim = 1, (config["kv_lora_rank"] + config["qk_rope_head_dim"]) // 2
    else:
        heads = config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return ModelShape(
        name=name,
        weight_bytes=stored if "quantization_config" in config else stored * run // kept,
        layers=config["num_hidden_layers"],
        kv_heads=kv_heads,
        head_dim=head_dim,
        dtype_bytes=run,
        context=config.get("max_position_embeddings", 0),
    )
