"""A published drafter as the checkpoint that a training begins with, in our form."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specdec.drafters.heads import config as heads
from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import HeadConfig
from specdec.drafters.heads.loading import with_weights
from specdec.errors import InvalidRequest, UnsupportedModel
from specdec.models.weights.checkpoint import read_json, resolve
from specdec.training.initial import TargetFacts, copy_tokenizer, speculators_config, write_config
from specdec.training.options import TrainingOptions
from specdec.training.weights import write_tensors


def write_started(folder: Path, facts: TargetFacts, options: TrainingOptions) -> None:
    """The published drafter that the training starts from."""
    assert options.start is not None
    source = with_weights(options.start, resolve(options.start))
    method = heads.method_of(source)
    if (method or "model") != options.kind:
        found = f"{options.start} ({method or 'a model'})"
        raise InvalidRequest("start", found, f"a drafter of kind {options.kind}, or another kind")
    if method is None:
        tensors = _tensors(source)
        write_config(folder, read_json(source / "config.json"))
        copy_tokenizer(source, folder)
    else:
        config = heads.read(source, facts.layers)
        _check_fits(options.start, config, facts)
        write_config(folder, _converted(source, config, facts))
        tensors = {n.replace("midlayer.", "layers.0."): tensor for n, tensor in _tensors(source).items()}
    write_tensors(folder, tensors, torch.float32)


def _check_fits(name: str, config: HeadConfig, facts: TargetFacts) -> None:
    if (config.target_hidden, config.family.vocab) != (facts.hidden, facts.vocab):
        raise UnsupportedModel(
            f"{name} drafts for a target of hidden size {config.target_hidden} with {config.family.vocab} tokens; "
            f"{facts.name} has {facts.hidden} and {facts.vocab}; expected one for a target like it"
        )


def _converted(source: Path, config: HeadConfig, facts: TargetFacts) -> dict[str, Any]:
    """A published head's config in our form."""
    raw = read_json(source / "config.json")
    described = dict(raw.get("transformer_layer_config") or raw)
    for name in ("dflash_config", "eagle_config", "speculators_config", "auto_map", "architectures"):
        described.pop(name, None)
    described.setdefault("model_type", "llama")
    converted = speculators_config(config.method, described, config.draft_vocab, facts, config.longest)
    if config.block is None:
        return converted | asdict(config.switches) | {"eagle_aux_hidden_state_layer_ids": list(config.features)}
    return converted | {
        "aux_hidden_state_layer_ids": list(config.features),
        "block_size": config.block.size,
        "mask_token_id": config.mask_token,
        "sample_from_anchor": config.block.anchor,
        "sliding_window_non_causal": not config.block.causal_windows,
    }


def _tensors(source: Path) -> dict[str, Tensor]:
    """All that a checkpoint holds."""
    tensors = HeadTensors(source, torch.device("cpu"), torch.float32)
    try:
        return {name: tensors.raw(name).clone() for name in tensors.names()}
    finally:
        tensors.close()
