"""A draft that knows nothing."""

from __future__ import annotations

import shutil
from pathlib import Path


def hostile_draft(draft: Path, into: Path) -> Path:
    """A checkpoint of the draft's shape and tokenizer with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    shutil.copytree(draft, into, ignore=shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", "*.bin"))
    logging.disable_progress_bar()
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(draft)).save_pretrained(into)
    return into
