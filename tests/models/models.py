"""Tiny random models of many architectures, and the passes that every way to run them must get right on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.utils import logging

from specdec.models.base import Batch, Model

VOCAB = 97
CONTEXT = 96
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
GPT2_SIZES = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
    "initializer_range": 0.3,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def _rope(kind: str, **more: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0, **more}}


LLAMA_FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied-biased": ("Llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-head-dim": ("Llama", {"head_dim": 16, "num_key_value_heads": 4}),
    "llama-linear": ("Llama", _rope("linear")),
    "llama-dynamic": ("Llama", _rope("dynamic")),
    "llama-llama3": (
        "Llama",
        _rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
    ),
    "llama-yarn": ("Llama", _rope("yarn", original_max_position_embeddings=24)),
    "mistral-window": ("Mistral", {"sliding_window": 6}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2_SIZES),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4}),
    "mpt": ("Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT}),
    "gpt-neox": ("GPTNeoX", {}),
    "phi": ("Phi", {}),
    "phi3-window": ("Phi3", {"sliding_window": 6}),
    "gemma": ("Gemma", {"head_dim": 8}),
    "gemma2-window": ("Gemma2", {"head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8}),
    "gemma3-window": ("Gemma3Text", {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "falcon": ("Falcon", {}),
    "falcon-alibi": ("Falcon", {"alibi": True}),
    "stablelm": ("StableLm", {}),
    "starcoder2": ("Starcoder2", {"sliding_window": 12}),
    "cohere": ("Cohere", {}),
    "olmo2": ("Olmo2", {}),
    "granite": ("Granite", {}),
    "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2-moe": ("Qwen2Moe", {**MOE, "shared_expert_intermediate_size": 24}),
    "qwen3-moe": ("Qwen3Moe", {**MOE, "head_dim": 8}),
}
RECURRENT: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("Mamba", {"state_size": 8}),
    "jamba": (
        "Jamba",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "expert_layer_period": 2,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
}
MAMBA = {
    "mamba_d_state": 8,
    "mamba_d_conv": 3,
    "mamba_expand": 2,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
}
LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
HYBRID: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba2": ("Mamba2", {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}),
    "qwen3-next": ("Qwen3Next", {**LINEAR, **MOE, "shared_expert_intermediate_size": 24}),
    "qwen3.5": ("Qwen3_5Text", LINEAR),
    "falcon-h1": ("FalconH1", {**MAMBA, "mamba_d_ssm": 64, "head_dim": 8}),
    "lfm2": ("Lfm2", {"conv_L_cache": 3, "layer_types": ["conv", "full_attention", "conv"]}),
    "granite-hybrid": (
        "GraniteMoeHybrid",
        {
            **MAMBA,
            "layer_types": ["mamba", "attention", "mamba"],
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 48,
        },
    ),
}
RECURRENT = {**RECURRENT, **HYBRID}
KINDS = {**LLAMA_FAMILY, **OTHERS, **RECURRENT}


def wide() -> Any:
    """A model whose rows are whole blocks of every type of GGUF."""
    torch.manual_seed(2)
    sizes = SIZES | {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 64}
    config = transformers.LlamaConfig(**sizes | {"initializer_range": 0.02})
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def large(**changes: Any) -> Any:
    """A model whose products a CPU lays out, and can keep in few bits."""
    torch.manual_seed(3)
    sizes = SIZES | {"vocab_size": 128, "hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(**sizes | {"max_position_embeddings": 4096, "initializer_range": 0.05} | changes)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def build(kind: str) -> Any:
    """A random model; wide initial weights, so that what attention sees matters to the logits."""
    name, changes = KINDS[kind]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for label, weight in model.named_parameters():
            if label.endswith("bias") or "norm" in label:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def save(model: Any, folder: Path, **options: Any) -> Path:
    logging.disable_progress_bar()
    model.save_pretrained(folder, **options)
    return folder


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(3, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def full(model: Any, ids: Tensor) -> Tensor:
    """transformers' own logits, without a cache."""
    with torch.inference_mode():
        logits: Tensor = model(ids, use_cache=False).logits
        return logits.float()


TOLERANCE = 1e-4


def close(found: Tensor, wanted: Tensor) -> None:
    """Within TOLERANCE, or 1e-5 of the largest logit where logits are large."""
    assert found.dtype == torch.float32
    bound = max(TOLERANCE, 1e-5 * float(wanted.abs().max()))
    torch.testing.assert_close(found, wanted, rtol=0, atol=bound)


Check = Callable[[Model, Any], None]


def chunks(model: Model, reference: Any) -> None:
    """Prefill in two chunks, then single tokens, then blocks."""
    ids = tokens(1, 40)
    truth, at = full(reference, ids), 0
    for count in (13, 7, 1, 1, 1, 4, 4, 2, 7):
        found = model.run(Batch(ids[:, at : at + count], [0], [at], count)).logits
        close(found, truth[:, at : at + count])
        at += count


def rollback(model: Model, reference: Any) -> None:
    """What lies beyond a smaller start is forgotten."""
    first, second = tokens(1, 30, seed=1), tokens(1, 30, seed=2)
    model.run(Batch(first, [1], [0], 1))
    ids = torch.cat((first[:, :17], second[:, :13]), 1)
    truth = full(reference, ids)
    close(model.run(Batch(ids[:, 17:22], [1], [17], 5)).logits, truth[:, 17:22])
    close(model.run(Batch(ids[:, 20:21], [1], [20], 1)).logits, truth[:, 20:21])
    close(model.run(Batch(ids[:, 21:], [1], [21], 3)).logits, truth[:, -3:])


def ragged(model: Model, reference: Any) -> None:
    """Three rows at different places, in slots out of order, one of them padded; then slots change hands."""
    ids, starts, slots = tokens(3, 40, seed=3), [4, 19, 11], [2, 0, 1]
    truth = full(reference, ids)
    for row, slot in enumerate(slots):
        model.run(Batch(ids[row : row + 1, : starts[row]], [slot], [0], 0))
    for count in (1, 4, 5):
        block = torch.stack([ids[row, start : start + count] for row, start in enumerate(starts)])
        if count > 1:
            block[1, 2:] = 5  # padding: its logits mean nothing, its keys are overwritten
        found = model.run(Batch(block, slots, starts, count)).logits
        moved = [count, min(count, 2), count]
        for row, start in enumerate(starts):
            close(found[row, : moved[row]], truth[row, start : start + moved[row]])
        starts = [start + step for start, step in zip(starts, moved, strict=True)]
    pair = model.run(Batch(ids[1:, :6], [0, 1], [0, 0], 2)).logits
    close(pair, truth[1:, 4:6])


def keeps(model: Model, reference: Any) -> None:
    """Only the positions asked for come back."""
    ids = tokens(1, 9, seed=4)
    assert model.run(Batch(ids, [0], [0], 0)).logits.shape == (1, 0, model.info.vocab_size)
    close(model.run(Batch(ids, [0], [0], 2)).logits, full(reference, ids)[:, -2:])


ALL_CHECKS: tuple[Check, ...] = (chunks, rollback, ragged, keeps)
