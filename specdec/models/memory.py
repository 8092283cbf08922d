"""Whether a model fits, asked before it is loaded, and what would."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import inf, prod
from pathlib import Path
from typing import Any, Unpack

import torch

from specdec.errors import NotEnoughMemory
from specdec.gguf import is_gguf
from specdec.models import families
from specdec.models.base import ModelOptions, kept_in
from specdec.models.families.base import Names
from specdec.models.weights import formats
from specdec.models.weights.checkpoint import Header
from specdec.models.weights.repacked import bits_of
from specdec.models.weights.sources import headers
from specdec.types.load import QUANTIZED_BITS, Quantize

_GIB = 2**30
_SPARE = 1.5 * _GIB
"""For the device's own needs, kernels, graphs, and what passes compute."""
_SHARE = 0.95
"""Of the rest, for pages."""

_ROUNDED: tuple[Quantize, ...] = ("int8", "int4")
"""What every device can multiply with as it is."""
_KEYLESS = ("linear_attention", "mamba", "conv", "mlp", "moe")
"""Layers without keys and values, as transformers' configs call them."""
_LEAST_CONTEXT = 16
"""Fewer are not worth naming."""
_CODES = {"I32": 4, "U8": 1, "I8": 1, "F8_E4M3": 1, "I64": 0}
"""Bytes of what is stored in few bits; of I64, shapes that are not kept."""
_MADE_PLAIN, _MADE_PLAIN_ON_CPU = ("compressed-tensors",), ("fp8", "mxfp4")
"""What transformers makes plain before the first pass."""

Neighbour = tuple[Path, Any]
"""A model that is to lie beside another: its folder and config."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a model takes."""

    weights: int
    cache: int
    """Keys and values of all slots"""
    spare: int
    """The device's own, kernels, graphs, and what passes compute"""
    context: int
    """Positions of each slot"""

    @property
    def held(self) -> int:
        return self.weights + self.cache

    @property
    def total(self) -> int:
        return self.held + self.spare


def needs(
    path: Path,
    config: Any,
    quantize: Quantize | None = None,
    *,
    head: bool = False,
    plain: bool = True,
    **options: Unpack[ModelOptions],
) -> Needs:
    """What a checkpoint would take, from its headers alone. `quantize`, `head`: as in `layers.Quantization`. `plain`:
    away from GPUs weights in few bits become plain, which they do where that is faster and there is room."""
    device, dtype, family = options["device"], options["dtype"], families.describe(config)
    kept = kept_in(options.get("kv_dtype", "auto"), dtype)
    token = cache_elements(config) * kept.itemsize * options["slots"]
    cuda, stored = device.type == "cuda", is_gguf(path) or formats.reader_of(config) is not None
    few, head = cuda or not plain, head and (cuda or not plain)
    if stored and not few and family is not None:
        weights = parameters(config) * dtype.itemsize
    elif not stored and formats.method_of(config) in (_MADE_PLAIN if cuda else (*_MADE_PLAIN, *_MADE_PLAIN_ON_CPU)):
        weights = _dequantised_bytes(path, config, dtype)
    else:
        rounded = quantize if cuda or (few and quantize in _ROUNDED) else None
        weights = weight_bytes(path, config, dtype, rounded, head=head)
        weights += _second_form(path, config, rounded) if few and not cuda else 0
    if device.type == "cpu" and family is not None and family.tied and not head:
        weights += family.vocab * family.hidden * dtype.itemsize  # one table to look up, one laid out for products
    return Needs(weights, token * options["context"], int(_SPARE) if cuda else 0, options["context"])


def check(
    folder: Path,
    config: Any,
    quantize: Quantize | None = None,
    *,
    head: bool = False,
    spread: bool,
    **options: Unpack[ModelOptions],
) -> bool:
    """Raise NotEnoughMemory for a model that GPUs do not hold; True if it takes all of the machine."""
    judge = partial(refusal, folder, config, quantize, head=head)
    refused = judge(room(options["device"]), **options)
    if refused is None and not spread:
        return False
    if spread or torch.cuda.device_count() > 1:
        together = sum(room(torch.device("cuda", i)) for i in range(torch.cuda.device_count()))
        shared = judge(together, spread=True, **options)
        if shared is None and find_spec("accelerate") is None:
            name = options["name"]
            raise NotEnoughMemory(f"{name} takes more than one GPU, which needs accelerate: pip install accelerate")
        if shared is None:
            return True
        refused = shared if spread else refused
    assert refused is not None
    raise refused


def refusal(
    folder: Path,
    config: Any,
    quantize: Quantize | None,
    free: float,
    *,
    head: bool = False,
    plain: bool = True,
    spread: bool = False,
    **options: Unpack[ModelOptions],
) -> NotEnoughMemory | None:
    """Why `free` bytes do not hold a model, and what would fit; None where they do. `plain`: as in `needs`."""
    ask, cuda = partial(needs, folder, config, head=head), options["device"].type == "cuda"
    found = ask(quantize, plain=plain, **options)
    if found.held <= free:
        return None
    would: list[str] = []
    if cuda and options.get("kv_dtype", "auto") == "auto" and not spread and families.describe(config) is not None:
        half = ask(quantize, **ModelOptions(**{**options, "kv_dtype": "fp8"}))
        would += ["kv_dtype='fp8'"] if half.held <= free else []
    if not spread and can_round(folder, config):
        less = [to for to in _ROUNDED if to != quantize and ask(to, plain=False, **options).held <= free]
        would += [f"quantize={to!r}" for to in less[:1]]
    larger = "a larger GPU" if cuda else "a GGUF file in few bits, which llama.cpp runs as it is"
    return too_large(options["name"], found, options["context"], options["slots"], free, would, larger)


def too_large(
    name: str, found: Needs, context: int, slots: int, free: float, would: Sequence[str], larger: str
) -> NotEnoughMemory:
    """With the numbers. `would`: what would fit, beside fewer tokens; `larger`: what to take where nothing would."""
    token = max(found.cache // context, 1)
    fits = int((free - found.weights) // token) if found.weights < free else 0
    would = [*([f"context={fits}"] if fits >= _LEAST_CONTEXT else []), *would]
    expected = f"{' or '.join(would)} would fit" if would else f"expected a smaller model, or {larger}"
    return NotEnoughMemory(
        f"{name} needs {found.weights / _GIB:.1f} GiB for weights and {found.cache / _GIB:.1f} GiB for {slots} slot"
        f"{'s' if slots > 1 else ''} of {context} tokens; free are {free / _GIB:.1f} GiB; {expected}"
    )


def room(device: torch.device) -> float:
    """Bytes for a model: what is free, but for some to spare on a GPU."""
    return max(free_bytes(device) - (_SPARE if device.type == "cuda" else 0), 0)


def free_bytes(device: torch.device) -> float:
    """Memory that is free on a device; infinite where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        available = Path("/proc/meminfo").read_text(encoding="ascii")
        free = int(available.split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else inf
    return min(free, granted())


def granted(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """What the limit of a container or a service leaves of memory; infinite where there is none."""
    try:
        group = groups / own.read_text(encoding="utf-8").split("0::/")[1].strip()
        limit, taken = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        lines = (line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        files = sum(int(count) for name, count in lines if name in ("active_file", "inactive_file"))
    except (OSError, IndexError, ValueError):  # none, of another kind, or "max"
        return inf
    return max(limit - taken + files, 0)


def pool_bytes(
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
    beside: Neighbour | None,
    quantize: Quantize | None = None,
) -> float:
    """Bytes for the pages of a model that is loaded: what is free, but for some to spare, and for a model that is to
    lie `beside` it (its folder and config), rounded as `quantize` says, with pages for as many tokens."""
    free = room(device) * _SHARE
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
    """Bytes of a checkpoint's weights once they are loaded, from its headers."""
    every = headers(path)
    if is_gguf(path) and quantize is None:
        return _gguf_bytes(every, dtype)
    if formats.method_of(config) is not None:
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


def _dequantised_bytes(path: Path, config: Any, dtype: torch.dtype) -> int:
    """Of weights that transformers makes plain."""
    groups = ((formats.quantization(config) or {}).get("config_groups") or {}).values()
    bits = min((group["weights"]["num_bits"] for group in groups if group.get("weights")), default=4)
    each = {"U8": 2, "I32": 32 // bits, "I64": 0}
    codes = (header for header in headers(path) if "scale" not in header.name and "zero_point" not in header.name)
    return sum(prod(header.shape) * each.get(header.dtype, 1) for header in codes) * dtype.itemsize


def _gguf_bytes(every: Sequence[Header], dtype: torch.dtype) -> int:
    """As they lie on a GPU: the embedding plain, and a head that is tied to it in few bits beside it. Products that
    become one have one form."""
    names, together = Names(), dict[str, list[Header]]()
    first = {part: parts[0] for parts in (names.qkv, names.gate_up) for part in parts}
    for header in every:
        at, dot, part = header.name.removesuffix(".weight").rpartition(".layers.")[2].partition(".")
        together.setdefault(f"{at}{dot}{first.get(part, part)}", []).append(header)
    tied, total = not any(header.name == "lm_head.weight" for header in every), 0.0
    for alike in together.values():
        bits, count = bits_of(*(header.dtype for header in alike)), sum(prod(header.shape) for header in alike)
        embedding = "embed_tokens" in alike[0].name
        if embedding or not bits:
            total += count * dtype.itemsize
        if bits and (tied or not embedding):
            total += count * bits / 8
    return int(total)


def _second_form(path: Path, config: Any, quantize: Quantize | None) -> int:
    """What a CPU takes beside codes of 4 bits: it keeps them in two forms, for few rows and for many."""
    if (family := families.describe(config)) is None:
        return 0
    products = parameters(config) - family.hidden * family.vocab * (1 if family.tied else 2)
    if quantize is not None:
        return products // 2 if quantize == "int4" else 0
    stored = sum(4 * prod(header.shape) for header in headers(path) if header.name.endswith(".weight_packed"))
    return products - stored if stored else 0


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
    kinds = getattr(text, "layer_types", None) or [""] * (getattr(text, "num_hidden_layers", None) or 0)
    layers = sum(kind not in _KEYLESS for kind in kinds)
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", None) or 0
    hidden = getattr(text, "hidden_size", None) or 0
    size = getattr(text, "head_dim", None) or hidden // max(getattr(text, "num_attention_heads", None) or 1, 1)
    return int(2 * layers * heads * size)
