"""Tiny models as GGUF files, of every type of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, TokenType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
SCALES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
}
"""Where in a block of a type that `gguf` does not quantise to its scales lie, in fp16."""
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4", *SCALES)


def encoded(weight: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers in a type: the nearest, or random ones of a like size where nothing here quantises to it."""
    if kind not in SCALES:
        return np.asarray(quantize(weight, Type[kind]))
    block, size = GGML_QUANT_SIZES[Type[kind]]
    data = rng.integers(0, 256, (len(weight), weight.shape[1] // block, size), np.uint8)
    for at in SCALES[kind]:
        scales = np.full(data.shape[:2], 0.0003, np.float16) * rng.uniform(0.5, 1.5, data.shape[:2]).astype(np.float16)
        data[:, :, at : at + 2] = scales[..., None].view(np.uint8)
    return data.reshape(len(weight), -1)


def write(
    model: Any,
    path: Path,
    kind_of: Callable[[str], str] = lambda _: "F32",
    more: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Write a model of transformers, and change its weights to what the file then stands for. `more`: metadata."""
    config, rng = model.config, np.random.default_rng(0)
    out = GGUFWriter(path, config.model_type, **options)
    _describe(out, config, more or {})
    for name, weight in list(model.named_parameters()):
        values = weight.detach().numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        stored = stored_name(name)
        if values.ndim == 1:
            out.add_tensor(stored, _paired(values, heads) if heads and config.model_type == "llama" else values)
            continue
        kind = kind_of(stored)
        data = encoded(values, kind, rng)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(np.array(dequantize(data, Type[kind]))))
        data = _paired(data, heads) if heads and config.model_type == "llama" else data
        out.add_tensor(stored, data, raw_dtype=Type[kind])
    for name, values in (more or {}).items():
        if isinstance(values, np.ndarray):
            out.add_tensor(name, values)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return model


def stored_name(name: str) -> str:
    """The file's name for a weight of transformers."""
    at, _, kind = name.rpartition(".")
    if at in _NAMES:
        return f"{_NAMES[at]}.{kind}"
    _, _, layer, part = at.split(".", 3)
    return f"blk.{layer}.{_NAMES[part]}.{kind}"


def _paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rotary pairs side by side, as files of Llama have them."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _describe(out: GGUFWriter, config: Any, more: Mapping[str, Any]) -> None:
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if (size := getattr(config, "head_dim", None)) is not None:
        out.add_key_length(size)
        out.add_value_length(size)
    if not any(key.startswith("tokenizer.") for key in more):
        add_tokens(out, config.vocab_size)
    for key, value in more.items():
        if isinstance(value, np.ndarray):
            continue
        add = {
            str: out.add_string,
            bool: out.add_bool,
            int: out.add_uint32,
            float: out.add_float32,
            list: out.add_array,
        }
        add[type(value)](key, value)


def add_tokens(out: GGUFWriter, count: int) -> None:
    """A tokenizer of letters, the first of whose tokens ends an answer."""
    letters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x200))]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(["<|im_end|>", *letters[: count - 2], "ab"])
    out.add_token_types([TokenType.CONTROL] + [TokenType.NORMAL] * (count - 1))
    out.add_token_merges(["a b"])  # llama.cpp asks for one
    out.add_eos_token_id(0)


# ---- recurrent ones

_RECURRENT_NAMES = {
    "backbone.embeddings.weight": "token_embd.weight",
    "backbone.norm_f.weight": "output_norm.weight",
    "model.embed_tokens.weight": "token_embd.weight",
    "model.embedding_norm.weight": "token_embd_norm.weight",
}
_RECURRENT_PARTS = {
    "norm.": "attn_norm.",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.conv1d.": "ssm_conv1d.",
    "mixer.in_proj.": "ssm_in.",
    "mixer.x_proj.": "ssm_x.",
    "mixer.dt_proj.": "ssm_dt.",
    "mixer.out_proj.": "ssm_out.",
    "operator_norm.": "attn_norm.",
    "ffn_norm.": "ffn_norm.",
    "conv.conv.": "shortconv.conv.",
    "conv.in_proj.": "shortconv.in_proj.",
    "conv.out_proj.": "shortconv.out_proj.",
    "self_attn.q_proj.": "attn_q.",
    "self_attn.k_proj.": "attn_k.",
    "self_attn.v_proj.": "attn_v.",
    "self_attn.out_proj.": "attn_output.",
    "self_attn.q_layernorm.": "attn_q_norm.",
    "self_attn.k_layernorm.": "attn_k_norm.",
    "feed_forward.w1.": "ffn_gate.",
    "feed_forward.w2.": "ffn_down.",
    "feed_forward.w3.": "ffn_up.",
}


def write_recurrent(model: Any, path: Path) -> Any:
    """Write a Mamba or LFM2 model of transformers, in fp32."""
    config = model.config
    out = GGUFWriter(path, config.model_type)
    out.add_context_length(96)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    add_tokens(out, config.vocab_size)
    if config.model_type == "mamba":
        out.add_ssm_conv_kernel(config.conv_kernel)
        out.add_ssm_inner_size(config.intermediate_size)
        out.add_ssm_state_size(config.state_size)
        out.add_ssm_time_step_rank(config.time_step_rank)
        out.add_feed_forward_length(0)
        out.add_head_count(0)
        out.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    else:
        out.add_shortconv_l_cache(config.conv_L_cache)
        out.add_feed_forward_length(model.model.layers[0].feed_forward.w1.out_features)
        out.add_head_count(config.num_attention_heads)
        kinds = config.layer_types
        out.add_head_count_kv([config.num_key_value_heads if k == "full_attention" else 0 for k in kinds])
        out.add_layer_norm_rms_eps(config.norm_eps)
        out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    for name, weight in model.named_parameters():
        values = weight.detach().numpy()
        values = -np.exp(values) if name.endswith("A_log") else values
        out.add_tensor(_recurrent_name(name), np.ascontiguousarray(values.squeeze(1) if values.ndim == 3 else values))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return model


def _recurrent_name(name: str) -> str:
    if name in _RECURRENT_NAMES:
        return _RECURRENT_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    part = next(part for part in _RECURRENT_PARTS if rest.startswith(part))
    return f"blk.{layer}.{rest.replace(part, _RECURRENT_PARTS[part], 1)}"
