"""Whether a model fits, asked before it is loaded, and what would."""

from __future__ import annotations

from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, Unpack

import torch

from specdec.errors import NotEnoughMemory
from specdec.models.base import ModelOptions
from specdec.models.weights.checkpoint import pickles
from specdec.models.weights.sources import headers

_GIB = 2**30
_SPARE = 1.5 * _GIB
"""For the device's own needs, kernels, graphs, and what passes compute."""


def check(folder: Path, config: Any, *, spread: bool, **options: Unpack[ModelOptions]) -> bool:
    """Raise NotEnoughMemory for a model that does not fit; True if it takes all GPUs of the machine to hold it."""
    name, context, slots = options["name"], options["context"], options["slots"]
    size = torch.empty(0, dtype=options["dtype"]).element_size()
    weights = elements(folder) * size
    token = cache_elements(config) * size * slots
    free = torch.cuda.mem_get_info(options["device"])[0] - _SPARE
    needed = weights + token * context
    if needed <= free and not spread:
        return False
    together = sum(torch.cuda.mem_get_info(i)[0] - _SPARE for i in range(torch.cuda.device_count()))
    if needed <= together and (spread or torch.cuda.device_count() > 1):
        if find_spec("accelerate") is None:
            raise NotEnoughMemory(f"{name} takes more than one GPU, which needs accelerate: pip install accelerate")
        return True
    free = max(free, together if spread else free)
    fits = int((free - weights) // token) if weights < free else 0
    would = f"context={fits} would fit" if fits >= 16 else "expected a smaller model, or a larger GPU"
    raise NotEnoughMemory(
        f"{name} needs {weights / _GIB:.1f} GiB for weights and {token * context / _GIB:.1f} GiB for {slots} slots of "
        f"{context} tokens; free are {free / _GIB:.1f} GiB; {would}"
    )


def elements(folder: Path) -> int:
    """Parameters of a checkpoint, from the headers of its files; 0 where it has none that say."""
    if pickles(folder):
        return 0
    return sum(prod(header.shape) for header in headers(folder))


def cache_elements(config: Any) -> int:
    """Numbers that one position of one slot holds; 0 for a model that does not say."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", None) or 0
    hidden = getattr(text, "hidden_size", None) or 0
    size = getattr(text, "head_dim", None) or hidden // max(getattr(text, "num_attention_heads", None) or 1, 1)
    return int(2 * (getattr(text, "num_hidden_layers", None) or 0) * heads * size)
