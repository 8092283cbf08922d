"""Where the checkpoints of a pair lie, and a draft that knows nothing."""

from __future__ import annotations

import shutil
from pathlib import Path


def folder(name: str, role: str) -> Path:
    """The checkpoint's files; `role` says which of the bundled ones."""
    from specdec.models.weights.checkpoint import resolve

    if name != "bundled":
        return resolve(name)
    from specdec.bundled import path

    return path("target" if role == "target" else "draft")


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
