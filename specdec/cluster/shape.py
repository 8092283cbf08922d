"""What a checkpoint weighs and what a token of its context takes, read from its files without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from specdec.errors import CheckpointCorrupt, CheckpointNotFound, first_line
from specdec.types.load import QUANTIZED_BITS, Quantize

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
    kept_bytes: int = 0
    """Of the weights, what rounding leaves: embedding and head, or all of a quantised checkpoint."""

    def quantized(self, quantize: Quantize) -> Self:
        """The same with its weights rounded as they are loaded."""
        bits = 8 * self.dtype_bytes
        rounded = (self.weight_bytes - self.kept_bytes) * QUANTIZED_BITS[quantize] / bits
        return replace(self, weight_bytes=self.kept_bytes + int(rounded))

    @property
    def kv_bytes(self) -> int:
        """Of one token, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype_bytes


# bytes in 16 bits, layers, heads of keys and values, size of a head, context, bytes of embedding and head: as their
# configs and indexes have them
_KNOWN = {
    "meta-llama/llama-3.1-8b-instruct": (16_060_522_496, 32, 8, 128, 131_072, 2_101_346_304),
    "meta-llama/llama-3.2-1b-instruct": (2_471_628_800, 16, 8, 64, 131_072, 525_336_576),
    "meta-llama/llama-3.2-3b-instruct": (6_425_499_648, 28, 8, 128, 131_072, 788_004_864),
    "meta-llama/llama-3.3-70b-instruct": (141_107_412_992, 80, 8, 128, 131_072, 4_202_692_608),
    "mistralai/mistral-7b-instruct-v0.3": (14_496_047_104, 32, 8, 128, 32_768, 536_870_912),
    "qwen/qwen2.5-0.5b-instruct": (988_065_536, 24, 2, 64, 32_768, 272_269_312),
    "qwen/qwen2.5-1.5b-instruct": (3_087_428_608, 28, 2, 128, 32_768, 466_747_392),
    "qwen/qwen2.5-7b-instruct": (15_231_233_024, 28, 4, 128, 32_768, 2_179_989_504),
    "qwen/qwen2.5-14b-instruct": (29_540_067_328, 48, 8, 128, 32_768, 3_114_270_720),
    "qwen/qwen2.5-32b-instruct": (65_527_752_704, 64, 8, 128, 32_768, 3_114_270_720),
    "qwen/qwen3-0.6b": (1_503_264_768, 28, 8, 128, 40_960, 622_329_856),
    "qwen/qwen3-1.7b": (4_063_479_808, 28, 8, 128, 40_960, 1_244_659_712),
    "qwen/qwen3-4b": (8_044_936_192, 36, 8, 128, 40_960, 777_912_320),
    "qwen/qwen3-8b": (16_381_470_720, 36, 8, 128, 40_960, 2_489_319_424),
    "qwen/qwen3-14b": (29_536_614_400, 40, 8, 128, 40_960, 3_111_649_280),
    "qwen/qwen3-32b": (65_524_246_528, 64, 8, 128, 40_960, 3_111_649_280),
}
"""By hub id in small letters, so that a plan needs no network."""


def shape(name: str, dtype: str) -> ModelShape:
    """Of a folder, of a model that is known, or of one at the hub, of which two small files are fetched. Raises
    CheckpointNotFound or CheckpointCorrupt."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if known := _KNOWN.get(name.lower()):
            stored, layers, kv_heads, head_dim, context, tables = known
            size = 2 if dtype == "auto" else _BYTES[dtype]
            weights, kept = stored * size // 2, tables * size // 2
            return ModelShape(name, weights, layers, kv_heads, head_dim, size, context, kept)
        from huggingface_hub import snapshot_download

        patterns = ["config.json", "*.index.json"]  # the two small files that tell a model's shape
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, etag_timeout=_HUB_SECONDS))
        except Exception as error:  # the hub, its cache and the network each have their own kinds
            why = first_line(error)
            raise CheckpointNotFound(f"{name} is no folder here, nor does the hub give its config: {why}") from error
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
    quantized = "quantization_config" in config
    tables = 1 if config.get("tie_word_embeddings") else 2
    vocabulary = tables * config.get("vocab_size", 0) * config["hidden_size"] * run
    return ModelShape(
        name=name,
        weight_bytes=stored if quantized else stored * run // kept,
        layers=config["num_hidden_layers"],
        kv_heads=kv_heads,
        head_dim=head_dim,
        dtype_bytes=run,
        context=config.get("max_position_embeddings", 0),
        kept_bytes=stored if quantized else vocabulary,
    )
