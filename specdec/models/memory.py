"""Whether a model fits, asked before it is loaded, and what would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, Unpack

import torch

from specdec.errors import NotEnoughMemory
from specdec.gguf import is_gguf
from specdec.models import families
from specdec.models.base import ModelOptions, kept_in
from specdec.models.weights import formats
from specdec.models.weights.checkpoint import Header, pickles
from specdec.models.weights.repacked import BITS
from specdec.models.weights.sources import headers
from specdec.types.load import QUANTIZED_BITS, Quantize

_GIB = 2**30
_SPARE = 1.5 * _GIB
"""For the device's own needs, kernels, graphs, and what passes compute."""
_SHARE = 0.95
"""Of the rest, for pages."""

_ROUNDED: tuple[Quantize, ...] = ("int8", "int4")
_CODES = {"I32": 4, "U8": 1, "I8": 1, "F8_E4M3": 1, "I64": 0}
"""Bytes of what is stored in few bits; of I64, shapes that are not kept."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a model takes."""

    weights: int
    cache: int
    """Keys and values of all slots"""
    spare: int
    """The device's own, kernels, graphs, and what passes compute"""

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.spare


def needs(
    path: Path,
    config: Any,
    quantize: Quantize | None = None,
    *,
    head: bool = False,
    **options: Unpack[ModelOptions],
) -> Needs:
    """What a checkpoint would take, from its headers alone. `quantize`, `head`: as in `layers.Quantization`."""
    size = options["dtype"].itemsize
    kept = kept_in(options.get("kv_dtype", "auto"), options["dtype"])
    token = cache_elements(config) * kept.itemsize * options["slots"]
    cuda = options["device"].type == "cuda"
    if not cuda and (is_gguf(path) or formats.reader_of(config) is not None):  # they become plain
        weights = parameters(config) * size
    else:
        weights = weight_bytes(path, config, options["dtype"], quantize, head=head)
    return Needs(weights, token * options["context"], int(_SPARE) if cuda else 0)


def check(
    folder: Path,
    config: Any,
    quantize: Quantize | None = None,
    *,
    head: bool = False,
    spread: bool,
    **options: Unpack[ModelOptions],
) -> bool:
    """Raise NotEnoughMemory for a model that does not fit; True if it takes all GPUs of the machine to hold it."""
    name, context, slots = options["name"], options["context"], options["slots"]
    found = needs(folder, config, quantize, head=head, **options)
    free = torch.cuda.mem_get_info(options["device"])[0] - _SPARE
    needed = found.weights + found.cache
    if needed <= free and not spread:
        return False
    together = sum(torch.cuda.mem_get_info(i)[0] - _SPARE for i in range(torch.cuda.device_count()))
    if needed <= together and (spread or torch.cuda.device_count() > 1):
        if find_spec("accelerate") is None:
            raise NotEnoughMemory(f"{name} takes more than one GPU, which needs accelerate: pip install accelerate")
        return True
    free = max(free, together if spread else free)
    token = max(found.cache // context, 1)
    fits = int((free - found.weights) // token) if found.weights < free else 0
    would = [f"context={fits}"] if fits >= 16 else []
    if options.get("kv_dtype", "auto") == "auto" and not spread and families.describe(config) is not None:
        half = needs(folder, config, quantize, head=head, **ModelOptions(**{**options, "kv_dtype": "fp8"}))
        would += ["kv_dtype='fp8'"] if half.weights + half.cache <= free else []
    if quantize is None and not spread and can_round(folder, config):
        less = {to: needs(folder, config, to, head=head, **options) for to in _ROUNDED}
        would += [f"quantize={to!r}" for to, one in less.items() if one.weights + one.cache <= free][:1]
    expected = f"{' or '.join(would)} would fit" if would else "expected a smaller model, or a larger GPU"
    raise NotEnoughMemory(
        f"{name} needs {found.weights / _GIB:.1f} GiB for weights and {found.cache / _GIB:.1f} GiB for {slots} slots "
        f"of {context} tokens; free are {free / _GIB:.1f} GiB; {expected}"
    )


def pool_bytes(
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
    beside: tuple[Path, Any] | None,
    quantize: Quantize | None = None,
) -> float:
    """Bytes for the pages of a model that is loaded: what is free, but for some to spare, and for a model that is to
    lie `beside` it (its folder and config), rounded as `quantize` says, with pages for as many tokens."""
    free = (torch.cuda.mem_get_info(device)[0] - _SPARE) * _SHARE
    if beside is None:
        return free
    ours, theirs = cache_elements(config), cache_elements(beside[1])
    return (free - weight_bytes(*beside, dtype, quantize)) * ours / max(ours + theirs, 1)


def can_round(path: Path, config: Any) -> bool:
    """Whether the weights are plain ones, of a family that keeps them in few bits."""
    return not is_gguf(path) and formats.quantization(config) is None and families.describe(config) is not None


def weight_bytes(
    path: Path, config: Any, dtype: torch.dtype, quantize: Quantize | None = None, *, head: bool = False
) -> int:
    """Bytes of a checkpoint's weights once they are loaded, from its headers; 0 where it has none that say."""
    if not is_gguf(path) and pickles(path):
        return 0
    every = headers(path)
    if is_gguf(path) and quantize is None:
        return _gguf_bytes(every, dtype)
    if formats.reader_of(config) is not None:
        # codes as they are, scales in 32 bits, the rest in `dtype`
        plain = [4 if "scale" in header.name else dtype.itemsize for header in every]
        each = zip(every, plain, strict=True)
        return sum(prod(header.shape) * _CODES.get(header.dtype, size) for header, size in each)
    family = families.describe(config)
    if family is None or (quantize is None and not head):
        return sum(prod(header.shape) for header in every) * dtype.itemsize
    names, total = family.names, 0
    rounds = {*names.qkv, names.out, *names.gate_up, names.down}
    table = names.head if any(header.name == f"{names.head}.weight" for header in every) else names.embedding
    for header in every:
        module, count = header.name.removesuffix(".weight"), prod(header.shape)
        if quantize and len(header.shape) == 2 and any(module.endswith(f".{part}") for part in rounds):
            total += int(count * QUANTIZED_BITS[quantize] / 8)
        elif not (head and module == names.head):
            total += count * dtype.itemsize
        if head and module.endswith(table):
            total += count
    return total


def _gguf_bytes(every: Sequence[Header], dtype: torch.dtype) -> int:
    """As they lie on a GPU: the embedding plain, and a head that is tied to it in few bits beside it."""
    tied, total = not any(header.name == "lm_head.weight" for header in every), 0
    for header in every:
        bits, count = BITS.get(header.dtype), prod(header.shape)
        embedding = "embed_tokens" in header.name
        if embedding or not bits:
            total += count * dtype.itemsize
        if bits and (tied or not embedding):
            total += int(count * bits / 8)
    return total


def parameters(config: Any) -> int:
    """Numbers in the products and the embedding of a described family."""
    family = families.describe(config)
    assert family is not None
    q, kv = family.heads * family.head_dim, family.kv_heads * family.head_dim
    layer = 2 * q + 2 * kv + 3 * family.intermediate
    return family.hidden * (family.layers * layer + family.vocab * (1 if family.tied else 2))


def cache_elements(config: Any) -> int:
    """Numbers that one position of one slot holds; 0 for a model that does not say."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", None) or 0
    hidden = getattr(text, "hidden_size", None) or 0
    size = getattr(text, "head_dim", None) or hidden // max(getattr(text, "num_attention_heads", None) or 1, 1)
    return int(2 * (getattr(text, "num_hidden_layers", None) or 0) * heads * size)
