"""Checkpoints: found, fetched, and read tensor by tensor.

Nothing here loads a whole model: `Safetensors` maps the files and hands out one tensor at a time.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt, CheckpointNotFound, UnsupportedModel, first_line
from specdec.files import mistaken
from specdec.gguf import is_gguf
from specdec.models.weights import stores
from specdec.models.weights.stores import HUB_FILES, HUB_IGNORED, HUB_SECONDS, PICKLED

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL"}


def resolve(name: str | Path) -> Path:
    """The folder or GGUF file of a checkpoint: itself if it is one, one that another program keeps (see `stores`), or
    fetched from the hub (or its local cache)."""
    path = Path(name).expanduser()
    if path.is_file():
        if is_gguf(path):
            return path
        raise CheckpointNotFound(f"{name} is a file; expected the checkpoint's folder, a GGUF file or a hub id")
    if path.is_dir():
        files = [] if weight_files(path) else stores.gguf_files(path)
        if files:
            return path / stores.choose(files, None, str(name))
    else:
        if found := stores.named_gguf(str(name)):
            return found
        path = _fetch(str(name))
        if not weight_files(path) and (files := stores.hub_gguf(str(name))):
            return stores.fetch(str(name), None)
    _check_no_adapter(path)
    return path


def weight_files(folder: Path) -> list[Path]:
    """Those that hold a checkpoint's tensors."""
    return sorted(file for pattern in ("*.safetensors", PICKLED) for file in folder.glob(pattern))


def _check_no_adapter(folder: Path) -> None:
    """An adapter changes what the model says, and nothing here applies it."""
    if found := next((file for file in ADAPTER if (folder / file).exists()), None):
        merged = f"{found}, which is not applied here; expected the two merged (merge_and_unload of peft)"
        if (folder / "config.json").exists():
            raise UnsupportedModel(
                f"{folder} holds an adapter beside its weights: {merged}, or the adapter elsewhere to go without it"
            )
        raise UnsupportedModel(f"{folder} holds an adapter and not the model that it is for: {merged}")


def fetch_pickled(name: str) -> Path:
    """The folder of a checkpoint of the hub that has no safetensors, with its files of torch.save."""
    return _fetch(name, ["*.json", PICKLED])


def _fetch(name: str, files: Sequence[str] = HUB_FILES) -> Path:
    """Download, or find in the hub's cache. One attempt: without a network it must fail at once, not retry."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    patterns: dict[str, Any] = {"allow_patterns": list(files), "ignore_patterns": HUB_IGNORED}
    try:
        validate_repo_id(name)
        return Path(snapshot_download(name, etag_timeout=HUB_SECONDS, **patterns))
    except HFValidationError as error:
        message = f"no folder {name}; expected a checkpoint's folder or a hub id like owner/model"
        raise CheckpointNotFound(message) from error
    except Exception as error:  # the hub, its cache and the network each have their own kinds
        reason = first_line(error)
        raise CheckpointNotFound(f"{name} is no folder here, and could not be fetched as a hub id: {reason}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or CheckpointCorrupt."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointCorrupt(f"{path.parent} has no {path.name}; expected a checkpoint's folder") from error
    except (OSError, ValueError) as error:
        reason = mistaken(path)
        raise CheckpointCorrupt(
            f"{path} is {reason}" if reason else f"{path} cannot be read as JSON: {error}"
        ) from error
    if not isinstance(value, dict):
        raise CheckpointCorrupt(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def read_config(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The transformers config of a decoder-only causal language model. A checkpoint that brings code for a type that
    transformers does not know runs only when it is allowed to."""
    raw = read_json(folder / "config.json")
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = raw.get("model_type")
    if "auto_map" in raw and kind not in CONFIG_MAPPING and not trust_remote_code:
        raise UnsupportedModel(
            f"{folder} needs its own code to run (model_type {kind!r}); read it, then pass trust_remote_code=True"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers' strict configs raise their own kinds
        reason = first_line(error)
        if not isinstance(error, ValueError | KeyError):
            raise CheckpointCorrupt(f"{folder}/config.json does not make sense: {reason}") from error
        if kind is None:
            raise CheckpointCorrupt(f"{folder}/config.json names no model_type: {reason}") from error
        raise UnsupportedModel(f"{folder}: model_type {kind!r} cannot be loaded: {reason}") from error
    if config.is_encoder_decoder:
        raise UnsupportedModel(
            f"{folder} is an encoder-decoder model ({config.model_type}); expected a decoder-only one"
        )
    return config


def maximum_positions(config: Any) -> int | None:
    """How many positions the model was made for, or was stretched to by yarn; None when it does not say (no position
    table, or endless)."""
    text = config.get_text_config()
    rotary = getattr(text, "rope_parameters", None) or {}
    original = rotary.get("original_max_position_embeddings") if rotary.get("rope_type") == "yarn" else None
    stretched = int(original * rotary.get("factor", 1.0)) if original else 0
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(text, key, None)
        if isinstance(value, int) and value > 0:
            return max(value, stretched)
    return None


class TensorSource(Protocol):
    """Tensors by name."""

    def __contains__(self, name: str) -> bool: ...

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of this shape."""
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of one of its tensors."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it: F32, BF16, F8_E4M3, I8, ..."""


def headers(folder: Path) -> list[Header]:
    """Of all tensors in a folder, without reading them."""
    files = pickles(folder)
    if not files:
        with closing(Safetensors(folder)) as weights:
            return list(weights.headers())
    found: list[Header] = []
    for file in files:
        tensors = unpickled(file, "meta").items()
        found += [Header(name, tuple(x.shape), _NAMES.get(x.dtype, str(x.dtype))) for name, x in tensors]
    return found


def unpickled(file: Path, device: str) -> dict[str, Tensor]:
    """Tensors of a file of torch.save, of which nothing is run; mapped, if they are for the CPU."""
    try:
        with warnings.catch_warnings(action="ignore"):
            held = torch.load(file, map_location=device, weights_only=True, mmap=device == "cpu")
    except Exception as error:  # pickle, zipfile and torch each have their own kinds
        with file.open("rb") as opened:
            zipped = opened.read(2) == b"PK"  # as it should be
        if zipped and isinstance(error, UnpicklingError):
            raise CheckpointCorrupt(f"{file} holds more than tensors; expected these alone: nothing is run") from error
        reason = None if zipped else mistaken(file)
        raise CheckpointCorrupt(f"{file} is {reason or f'damaged ({first_line(error)}); fetch it again'}") from error
    if not isinstance(held, dict):
        raise CheckpointCorrupt(f"{file} holds {type(held).__name__}; expected tensors by name")
    return {name: value for name, value in held.items() if isinstance(value, Tensor)}


def pickles(folder: Path) -> list[Path]:
    """Files of torch.save with the weights; none where there are safetensors, which are then what is read."""
    safe = (folder / INDEX).exists() or (folder / SINGLE).exists()
    return [] if safe else sorted(folder.glob(PICKLED))


class Safetensors:
    """The tensors of a folder's safetensors files by name (a `TensorSource`), read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        self._used: set[str] = set()
        if not (folder / INDEX).exists():
            if not (folder / SINGLE).exists():
                if pickled := next(folder.glob("*.bin"), None):
                    raise CheckpointCorrupt(
                        f"{folder} holds its weights in pickles alone ({pickled.name}), which are not opened; expected "
                        "safetensors, as save_pretrained of transformers writes them"
                    )
                raise CheckpointCorrupt(f"{folder} has no {SINGLE} and no {INDEX}; expected safetensors weights")
            self._where = dict.fromkeys(self._open(SINGLE).keys(), SINGLE)
            return
        where = read_json(folder / INDEX).get("weight_map")
        if not isinstance(where, dict) or not all(isinstance(file, str) for file in where.values()):
            raise CheckpointCorrupt(f"{folder / INDEX} has no weight_map of tensors to files; fetch it again")
        self._where = where
        for file in sorted(set(self._where.values())):
            if not (folder / file).exists():
                raise CheckpointCorrupt(f"{folder} lacks {file}, which its index names; fetch it again")
            self._open(file)

    def _open(self, file: str) -> Any:
        from safetensors import SafetensorError, safe_open

        if file not in self._files:
            try:
                self._files[file] = safe_open(self.folder / file, framework="pt")
            except (SafetensorError, OSError) as error:
                reason = mistaken(self.folder / file) or f"damaged ({error}); fetch it again"
                raise CheckpointCorrupt(f"{self.folder / file} is {reason}") from error
        return self._files[file]

    def __contains__(self, name: str) -> bool:
        return name in self._where

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the first tensor stored."""
        tensor: Tensor = self._found(next(iter(self._where)))
        return tensor.dtype

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor, mapped from its file, checked against the shape that the config implies."""
        tensor = self.tensor(name)
        if tuple(tensor.shape) != shape:
            found = tuple(tensor.shape)
            raise CheckpointCorrupt(f"{self.folder}: {name} has shape {found}; its config says {shape}")
        return tensor

    def headers(self) -> Iterator[Header]:
        """Of all tensors, without reading them."""
        for name in self._where:
            held = self._found(name, "get_slice")
            yield Header(name, tuple(held.get_shape()), held.get_dtype())

    def unused(self) -> list[str]:
        """The tensors that nobody has asked for."""
        return [name for name in self._where if name not in self._used]

    def tensor(self, name: str) -> Tensor:
        """A tensor, whatever its shape."""
        if name not in self._where:
            raise CheckpointCorrupt(f"{self.folder} lacks the tensor {name}")
        self._used.add(name)
        tensor: Tensor = self._found(name)
        return tensor

    def _found(self, name: str, get: str = "get_tensor") -> Any:
        from safetensors import SafetensorError

        try:
            return getattr(self._open(self._where[name]), get)(name)
        except SafetensorError as error:
            raise CheckpointCorrupt(f"{self.folder}: {name} cannot be read ({error})") from error

    def close(self) -> None:
        """Let go of the files."""
        self._files.clear()
