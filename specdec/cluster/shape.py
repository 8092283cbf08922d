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
class Shape:
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


def shape(name: str, dtype: str) -> Shape:
    """Raises CheckpointNotFound or CheckpointCorrupt."""
    folder = _folder(name)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return _shape(name, config.get("text_config", config), _weights(folder), dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointCorrupt(
            f"{folder}: config.json and the safetensors do not tell the model's shape ({error})"
        ) from error


def _shape(name: str, config: Mapping[str, Any], stored: int, dtype: str) -> Shape:
    kv_heads, head_dim = _attention(config)
    own = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    run, kept = _BYTES[own if dtype == "auto" else dtype], _BYTES[own]
    return Shape(
        name=name,
        weight_bytes=stored if _quantized(config) else stored * run // kept,
        layers=config["num_hidden_layers"],
        kv_heads=kv_heads,
        head_dim=head_dim,
        dtype_bytes=run,
        context=config.get("max_position_embeddings", 0),
    )


def _attention(config: Mapping[str, Any]) -> tuple[int, int]:
    """Heads of the cache and their width. A compressed cache (MLA) is one head that keys and values share."""
    if "kv_lora_rank" in config:
        return 1, (config["kv_lora_rank"] + config["qk_rope_head_dim"]) // 2
    heads = config["num_attention_heads"]
    return config.get("num_key_value_heads") or heads, config.get("head_dim") or config["hidden_size"] // heads


def _quantized(config: Mapping[str, Any]) -> bool:
    return "quantization_config" in config


def _weights(folder: Path) -> int:
    files = list(folder.glob("*.safetensors"))
    if files:
        return sum(file.stat().st_size for file in files)
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
    return int(index["metadata"]["total_size"])


def _folder(name: str) -> Path:
    """A folder, or the two small files of a hub id that tell its shape."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "*.index.json"], etag_timeout=_HUB_SECONDS))
    except Exception as error:  # the hub, its cache and the network each have their own kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointNotFound(f"{name} is no folder here, and the hub does not give its config: {reason}") from error
