"""GGUF files: their metadata, and their tensors as they are stored, mapped and never executed.

The header is parsed here: the reader of the package `gguf` makes several objects of each token of a vocabulary, which
takes half a minute for one of 150,000. What types there are, and what their blocks mean, is that package's.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from specdec.errors import CheckpointCorrupt, UnsupportedModel, extra
from specdec.files import mistaken

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Kinds of values in the metadata that have a fixed size, as `struct` names them."""
_STRING, _ARRAY = 8, 9
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor, as it lies in the file."""

    name: str
    shape: tuple[int, ...]
    """As torch counts: rows first."""
    type: str
    """As ggml calls it: F32, Q4_K, ..."""
    data: Any
    """uint8 [..., bytes of a row], a read-only array over the mapped file."""


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A model in one file, or in all parts of a split one."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    @property
    def format(self) -> str:
        """The type that most of its numbers are in, for display."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.type] += tensor.data.nbytes
        return f"GGUF {sizes.most_common(1)[0][0]}" if sizes else "GGUF"

    def of_model(self, key: str, default: Any = None) -> Any:
        """A value of the metadata that the architecture's name precedes."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def is_gguf(path: Path) -> bool:
    """Whether a path names a GGUF file: by its suffix, or by its first bytes (Ollama's files have no suffix)."""
    if path.suffix == SUFFIX:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def parts_of(path: Path) -> list[Path]:
    """All files of the model that `path` is, or is a part of."""
    found = _PART.search(path.name)
    if found is None:
        return [path]
    stem, count = path.name[: found.start()], int(found[2])
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}{SUFFIX}") for number in range(1, count + 1)]


def open_gguf(path: Path) -> GgufFile:
    """Read the header of a file, and those of its other parts. Raises CheckpointCorrupt or UnsupportedModel."""
    parts = parts_of(path)
    for part in parts:
        if not part.is_file():
            more = f"; expected all {len(parts)} parts of {path.name} in one folder" if len(parts) > 1 else ""
            raise CheckpointCorrupt(f"there is no file {part}{more}")
    return _opened(tuple(parts), tuple(part.stat().st_mtime_ns for part in parts))


@lru_cache(maxsize=4)
def _opened(parts: tuple[Path, ...], _changed: tuple[int, ...]) -> GgufFile:
    metadata, tensors = _Header(parts[0]).read()
    if not isinstance(metadata.get("general.architecture"), str):
        raise CheckpointCorrupt(f"{parts[0]} names no general.architecture; expected a GGUF file of a model")
    if (kind := metadata.get("general.type", "model")) != "model":
        raise UnsupportedModel(f"{parts[0]} is a GGUF file of the type {kind!r}; expected that of a whole model")
    for part in parts[1:]:
        tensors |= _Header(part).read()[1]
    return GgufFile(parts[0], metadata, tensors)


class _Header:
    """What one file says of itself, read from front to back."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            with path.open("rb") as file:
                self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # a file without a byte cannot be mapped
            raise CheckpointCorrupt(f"{path} cannot be read: {error}; fetch it again") from error

    def read(self) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
        """Metadata and tensors."""
        magic = self.bytes[: len(_MAGIC)]
        if magic != _MAGIC:
            reason = mistaken(self.path) or f"no GGUF file: it begins {magic!r}; expected {_MAGIC!r}"
            raise CheckpointCorrupt(f"{self.path} is {reason}")
        try:
            self.at = len(_MAGIC)
            version, tensors, values = self._numbers("IQQ")
            if version not in _VERSIONS:
                big = " (a file for big-endian machines)" if version > 0xFFFF else ""
                raise UnsupportedModel(f"{self.path} is GGUF version {version}{big}; expected 2 or 3")
            metadata = {}
            for _ in range(values):
                key = self._text()
                metadata[key] = self._value(self._numbers("I")[0])
            entries = []
            for _ in range(tensors):
                name = self._text()
                (count,) = self._numbers("I")
                sizes = self._numbers(f"{min(count, 8)}Q")
                entries.append((name, tuple(reversed(sizes)), *self._numbers("IQ")))
            alignment = metadata.get("general.alignment", 32)
            if not isinstance(alignment, int) or alignment < 1:
                raise CheckpointCorrupt(f"{self.path}: general.alignment is {alignment!r}; expected a whole number")
            for name, *_, at in entries:
                if at % alignment:
                    place = f"{self.path}: {name} begins at byte {at}"
                    raise CheckpointCorrupt(f"{place}; expected a multiple of {alignment}: fetch it again")
            start = -(-self.at // alignment) * alignment
            return metadata, {entry[0]: self._tensor(start, *entry) for entry in entries}
        except (UnicodeDecodeError, RecursionError) as error:
            raise CheckpointCorrupt(f"{self.path} is damaged at byte {self.at}; fetch it again") from error
        except (struct.error, MemoryError) as error:
            raise self._cut() from error

    def _numbers(self, kinds: str) -> tuple[Any, ...]:
        form = "<" + kinds
        found = struct.unpack_from(form, self.bytes, self.at)
        self.at += struct.calcsize(form)
        return found

    def _text(self) -> str:
        (length,) = self._numbers("Q")
        if self.at + length > len(self.bytes):
            raise self._cut()
        text = self.bytes[self.at : self.at + length].decode()
        self.at += length
        return text

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._numbers(_NUMBERS[kind])[0]
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise CheckpointCorrupt(f"{self.path} holds a value of kind {kind}; expected one of GGUF's: fetch it again")
        of, count = self._numbers("IQ")
        if count > len(self.bytes):  # before a number that means nothing is taken for a size
            raise self._cut()
        return (
            list(self._numbers(f"{count}{_NUMBERS[of]}")) if of in _NUMBERS else [self._value(of) for _ in range(count)]
        )

    def _tensor(self, start: int, name: str, shape: tuple[int, ...], kind: int, offset: int) -> GgufTensor:
        import numpy as np

        form, block, size = _type(kind, f"{self.path}: {name}")
        if not shape or shape[-1] % block:
            raise CheckpointCorrupt(f"{self.path}: {name} has rows of {shape[-1:]} in blocks of {block}")
        row = shape[-1] // block * size
        count = prod(shape[:-1]) * row
        if start + offset + count > len(self.bytes):
            raise self._cut()
        data = np.frombuffer(self.bytes, np.uint8, count, start + offset)
        return GgufTensor(name, shape, form, data.reshape(*shape[:-1], row))

    def _cut(self) -> CheckpointCorrupt:
        return CheckpointCorrupt(
            f"{self.path} ends before what its header names ({len(self.bytes)} bytes are there); fetch it again"
        )


def _type(kind: int, where: str) -> tuple[str, int, int]:
    """Name of a ggml type, how many numbers make a block, and its bytes."""
    with extra("gguf", "a GGUF file"):
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    try:
        found = GGMLQuantizationType(kind)
        block, size = GGML_QUANT_SIZES[found]
    except (ValueError, KeyError) as error:
        raise UnsupportedModel(
            f"{where} is stored as type {kind}, which is not known here; try a newer reader: pip install -U gguf"
        ) from error
    return found.name, block, size
