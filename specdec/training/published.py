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
from specdec.models.weights.checkpoint import read_config, read_json, resolve
from specdec.text.tokenizer import Tokenizer, check_same_tokens
from specdec.training.initial import TargetFacts, copy_tokenizer, family_of, speculators_config, write_config
from specdec.training.options import Kind
from specdec.training.weights import write_tensors


def folder_of(start: str) -> Path:
    """Where a drafter lies that a training starts from, with its weights."""
    return with_weights(start, resolve(start))


def check(start: str, kind: Kind, facts: TargetFacts, tokenizer: Tokenizer) -> None:
    """Raise InvalidRequest or LoadError where a training of that kind cannot start from it."""
    source = folder_of(start)
    method = heads.method_of(source)
    if (method or "model") != kind:
        raise InvalidRequest("start", start, f"a drafter of kind {kind}; this one is of kind {method or 'model'}")
    if method is None:
        family = family_of(read_config(source), start)
        check_same_tokens(tokenizer, Tokenizer.load(source), facts.name, start)
        found, wanted, fits = f"has {family.vocab} tokens", f"{facts.vocab}", family.vocab <= facts.vocab
    else:
        head = heads.read(source, facts.layers)
        sizes = head.target_hidden, head.family.vocab, max(facts.layers, *head.features)
        own = facts.hidden, facts.vocab, facts.layers
        found, wanted = ("{} and {} tokens, with {} layers".format(*each) for each in (sizes, own))
        found, fits = f"drafts for a target of hidden size {found} or more", sizes == own
    if not fits:
        raise UnsupportedModel(f"{start} {found}; {facts.name} has {wanted}; expected one for a target like it")


def write_started(folder: Path, start: str, facts: TargetFacts) -> None:
    """The published drafter that the training starts from."""
    source = folder_of(start)
    tensors = _tensors(source)
    if heads.method_of(source) is None:
        write_config(folder, read_json(source / "config.json"))
        copy_tokenizer(source, folder)
    else:
        write_config(folder, _converted(source, heads.read(source, facts.layers), facts))
        tensors = {name.replace("midlayer.", "layers.0."): tensor for name, tensor in tensors.items()}
    write_tensors(folder, tensors, torch.float32)


def _converted(source: Path, config: HeadConfig, facts: TargetFacts) -> dict[str, Any]:
    """A published head's config in our form."""
    raw = read_json(source / "config.json")
    described = dict(raw.get("transformer_layer_config") or raw)
    for name in ("dflash_config", "eagle_config", "speculators_config", "auto_map", "architectures"):
        described.pop(name, None)
    described.setdefault("model_type", "llama")
    if config.block is not None:  # windows may stand elsewhere
        windows = config.family.windows
        kinds = ["full_attention" if window is None else "sliding_attention" for window in windows]
        described |= {"layer_types": kinds, "sliding_window": next(filter(None, windows), None)}
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
