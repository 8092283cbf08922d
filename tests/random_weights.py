"""A model that has learnt nothing, with the bundled target's tokenizer and chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from specdec.bundled import path


def make_random_target(folder: Path) -> Path:
    """Write its checkpoint into `folder`."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(path("target") / name, folder / name)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(path("target"))
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 2, 64, 128
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 2, 1, 32
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder
