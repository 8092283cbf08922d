"""From a GGUF file to a model that llama.cpp runs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from math import prod
from pathlib import Path

import torch

from specdec.errors import DISTRIBUTION, MissingExtra
from specdec.gguf import GgufFile, open_gguf
from specdec.models import memory
from specdec.models.base import DECODE_ROWS, Model, ModelInfo
from specdec.models.llamacpp.context import LlamaContext
from specdec.models.llamacpp.model import LlamaCppModel
from specdec.models.llamacpp.recurrent import RecurrentLlamaCppModel
from specdec.models.memory import Needs

_CPU = torch.device("cpu")
_SMALL = 4 * 2**30
"""Bytes, dequantised to fp32, up to which a model may run in torch instead."""
_SHARE = 4
"""Slots take one part in so many of the memory where nobody says how long a context shall be."""
_SHORTEST = 2048


def can_run(path: Path) -> bool:
    """Whether llama.cpp is here. Raises MissingExtra where it is not, and a file is too large to go without."""
    if find_spec("llama_cpp") is not None:
        return True
    size = 4 * sum(prod(tensor.shape) for tensor in open_gguf(path).tensors.values())
    if size > _SMALL:
        raise MissingExtra(
            f"{path} would take {size / 2**30:.0f} GiB in torch; llama.cpp runs it as it is: "
            f"pip install '{DISTRIBUTION}[gguf]'"
        )
    return False


def load(path: Path, *, name: str, context: int, slots: int, known: int | None, less: bool) -> Model:
    """A model over `slots` of `context` positions each; of fewer where `less` is allowed and memory is short. `known`:
    for how many it was made. Raises NotEnoughMemory."""
    file = open_gguf(path)
    each = _cache_bytes(file)
    positions = _shortened(file, context, slots) if less else context
    capacity = _capacity(positions)
    taken, free = Needs(_weight_bytes(file), slots * capacity * each, 0, positions), memory.room(_CPU)
    if taken.held > free:
        raise memory.too_large(name, taken, positions, slots, free, [], "a file in fewer bits")
    found = LlamaContext(file.path, slots, capacity)  # of a split model the first part
    info = ModelInfo(
        name=name,
        architecture=file.architecture,
        backend="llama.cpp",
        vocab_size=found.vocab_size,
        context=positions,
        known=known,
        shortened=positions < context,
        slots=slots,
        device=_CPU,
        dtype=torch.float32,
        parameters=found.parameters,
        weight_bytes=found.weight_bytes,
        weight_format=file.format,
        cache_bytes=slots * (capacity * each + (found.state_bytes if found.recurrent else 0)),
    )
    return RecurrentLlamaCppModel(found, info) if found.recurrent else LlamaCppModel(found, info)


def needs(path: Path, *, context: int, slots: int, less: bool) -> Needs:
    """What `load` would take; without recurrent state, which llama.cpp alone knows."""
    file = open_gguf(path)
    positions = _shortened(file, context, slots) if less else context
    return Needs(_weight_bytes(file), slots * _capacity(positions) * _cache_bytes(file), 0, positions)


def _shortened(file: GgufFile, context: int, slots: int) -> int:
    """As much of a context as memory has room for."""
    held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    left = min(held // _SHARE, memory.room(_CPU) - _weight_bytes(file))
    return min(context, max(int(left // max(slots * _cache_bytes(file), 1)), _SHORTEST))


def _weight_bytes(file: GgufFile) -> int:
    return sum(tensor.data.nbytes for tensor in file.tensors.values())


def _capacity(positions: int) -> int:
    """llama.cpp gives each sequence a multiple of 256 positions."""
    return -(-(positions + DECODE_ROWS) // 256) * 256


def _cache_bytes(file: GgufFile) -> int:
    """Of the keys and values of one position, in 16 bits."""
    layers, heads = file.of_model("block_count", 0), file.of_model("attention.head_count", 1)
    held = file.of_model("attention.head_count_kv", heads)
    of_layers: list[int] = held if isinstance(held, list) else [held] * layers
    width = file.of_model("embedding_length", 0) // max(heads if isinstance(heads, int) else max(heads), 1)
    each: int = file.of_model("attention.key_length", width) + file.of_model("attention.value_length", width)
    return 2 * sum(of_layers) * each
