"""What a checkpoint is made of, whether it is a folder or a GGUF file."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specdec.errors import UnsupportedModel
from specdec.gguf import is_gguf, open_gguf, parts_of
from specdec.models.weights import checkpoint, formats
from specdec.models.weights.checkpoint import Header, Safetensors
from specdec.models.weights.gguf import GgufTensors, read_gguf_config

_SAMPLES, _SAMPLE = 64, 4096
"""Of each file: places, and bytes there."""


def read_config(path: Path, *, trust_remote_code: bool = False) -> Any:
    """The transformers config of a checkpoint."""
    if is_gguf(path):
        return read_gguf_config(path)
    return checkpoint.read_config(path, trust_remote_code=trust_remote_code)


def positions(path: Path) -> int | None:
    """For how many positions a checkpoint was made; None when it does not say."""
    if is_gguf(path):
        found = open_gguf(path).of_model("context_length")
        return found if isinstance(found, int) else None
    return checkpoint.maximum_positions(checkpoint.read_config(path))


def open_tensors(path: Path) -> Safetensors | GgufTensors:
    """Its tensors by transformers' names, to be closed."""
    return GgufTensors(path) if is_gguf(path) else Safetensors(path)


def headers(path: Path) -> list[Header]:
    """Of all its tensors, without reading them."""
    return list(GgufTensors(path).headers()) if is_gguf(path) else checkpoint.headers(path)


def fingerprint(path: Path) -> str:
    """Which weights these are, wherever they lie: of their files' sizes, and of bytes all over them."""
    seen = sha256()
    for file in parts_of(path) if is_gguf(path) else checkpoint.weight_files(path):
        size = file.stat().st_size
        seen.update(size.to_bytes(8))
        with file.open("rb") as opened:
            for place in range(_SAMPLES):
                opened.seek(place * size // _SAMPLES)
                seen.update(opened.read(_SAMPLE))
    return seen.hexdigest()[:16]


class PlainTensors:
    """The tensors of a described family's checkpoint as numbers, whatever they are stored in (a `TensorSource`)."""

    def __init__(self, path: Path) -> None:
        config = read_config(path)
        self._method = formats.reader_of(config)
        if self._method is None and (stored := formats.method_of(config)) is not None and not is_gguf(path):
            raise UnsupportedModel(f"{path} holds {stored} weights, which cannot be copied; expected them in 16 bits")
        self._held = open_tensors(path)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """See `TensorSource.get`."""
        if self._method is not None and isinstance(self._held, Safetensors) and len(shape) == 2:
            module, (rows, columns) = name.removesuffix(".weight"), shape
            weight = self._method(self._held, module, (rows, columns), torch.device("cpu"))
            if weight is not None:
                return weight.dequantized(torch.float32)
        return self._held.get(name, shape)

    def close(self) -> None:
        """Let go of the files."""
        self._held.close()
