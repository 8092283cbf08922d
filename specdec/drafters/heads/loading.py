"""From a folder to a head over a target."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from specdec.drafters.heads.base import Head
from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import HeadConfig, Method, read
from specdec.drafters.heads.dflash import BlockHead, SelectingHead
from specdec.drafters.heads.drafter import HeadDrafter, elements_of_slot
from specdec.drafters.heads.dspark import MarkovHead
from specdec.drafters.heads.eagle3 import EagleHead, ParallelEagleHead
from specdec.drafters.heads.layers import HeadBody, HeadLayer, MakeBody
from specdec.drafters.heads.parts import HeadParts
from specdec.errors import LoadError, UnsupportedModel
from specdec.models.base import Model, ModelEnds, ModelInfo
from specdec.models.families.base import ModelFamily
from specdec.models.weights.checkpoint import fetch_pickled, headers
from specdec.models.weights.dense import DenseWeight
from specdec.models.weights.sources import read_config

_HEADS: dict[Method, Callable[[HeadParts], Head]] = {
    "eagle3": EagleHead,
    "peagle": ParallelEagleHead,
    "dflash": BlockHead,
    "dflash2": SelectingHead,
    "dspark": MarkovHead,
}


_NOWHERE = torch.device("meta")
_PADDING = 1024
"""Tokens by which vocabularies differ that are padded, or have some more added to them: 151,936 and 152,064."""


def with_weights(name: str, folder: Path) -> Path:
    """The folder of the head of that name, fetched again where only torch's own files hold its weights."""
    return folder if Path(name).is_dir() or any(folder.glob("*.safetensors")) else fetch_pickled(name)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The ends of a target that is not loaded (see `ModelEnds`)."""

    hidden: int
    layers: int
    vocab: int
    rounded: bool = False

    def embed(self, tokens: Tensor) -> Tensor:
        return torch.empty(*tokens.shape, self.hidden, device=_NOWHERE)

    def unembed(self, x: Tensor) -> Tensor:
        return torch.empty(x.shape[0], self.vocab, device=_NOWHERE)


def check_head(folder: Path, target: Path, name: str) -> None:
    """Raise LoadError where the head in `folder` cannot draft for the target of that name, which is not loaded yet. No
    weight is read."""
    try:
        described = read_config(target).get_text_config()
        ends = _Sizes(described.hidden_size, described.num_hidden_layers, described.vocab_size)
    except (LoadError, AttributeError):  # it is said where the target is loaded
        return
    info = ModelInfo(name, "", "", ends.vocab, 0, 0, _NOWHERE, torch.float32, 0, 0, 0)
    config = read(folder, ends.layers)
    _check_fits(folder, config, info, ends)
    with closing(HeadTensors(folder, info.device, info.dtype, DenseWeight)) as tensors:
        _made(HeadParts.read(config, tensors, ends, info))


def load_head(folder: Path, target: Model, name: str) -> HeadDrafter:
    """The head in `folder` as a drafter for this target. Raises LoadError where it is none, or one for another."""
    ends, info = target.ends, target.info
    if ends is None:
        raise UnsupportedModel(f"{folder} is a head, and {info.name} does not show what a head reads; expected a model")
    config = read(folder, ends.layers)
    _check_fits(folder, config, info, ends)
    with closing(HeadTensors(folder, info.device, info.dtype)) as tensors:
        return head_of(config, tensors, target, ends, name)


def foretold_bytes(folder: Path, target: Path, slots: int) -> int:
    """What the head in `folder` takes beside the target in another, in 16 bits; 0 where it cannot be read."""
    try:
        config = read(folder, read_config(target).get_text_config().num_hidden_layers)
        weights = sum(prod(header.shape) for header in headers(folder)) * 2
    except LoadError:
        return 0
    return weights + (slots + 1) * 2 * elements_of_slot(config)


def head_of(config: HeadConfig, tensors: HeadTensors, target: Model, ends: ModelEnds, name: str) -> HeadDrafter:
    """The head of these tensors as a drafter for this target."""
    parts = HeadParts.read(config, tensors, ends, target.info, _body(target, config.longest))
    return HeadDrafter(_made(parts), target.info, name, tensors.parameters, tensors.nbytes, target.device)


def _made(parts: HeadParts) -> Head:
    config = parts.config
    make = BlockHead if config.method == "dspark" and config.markov is None else _HEADS[config.method]
    return make(parts)


def _check_fits(folder: Path, config: HeadConfig, info: ModelInfo, ends: ModelEnds) -> None:
    """Raise UnsupportedModel for a head of another target: by sizes, as names change."""
    of = f"{folder} drafts for {config.verifier or 'another target'}"
    if config.target_hidden != ends.hidden:
        raise UnsupportedModel(
            f"{of}, whose hidden size is {config.target_hidden}; that of {info.name} is {ends.hidden}; expected a head "
            "that was trained for it"
        )
    if config.target_layers not in (None, ends.layers):
        raise UnsupportedModel(
            f"{of} of {config.target_layers} layers; {info.name} has {ends.layers}; expected a head that was trained "
            "for it"
        )
    if abs(config.family.vocab - info.vocab_size) > _PADDING:
        raise UnsupportedModel(
            f"{of}, whose vocabulary has {config.family.vocab} tokens; that of {info.name} has {info.vocab_size}; "
            "expected a head that was trained for it"
        )
    if wrong := [i for i in config.features if not 0 <= i <= ends.layers]:
        raise UnsupportedModel(
            f"{of}: it reads layer {wrong[0]}; {info.name} has {ends.layers}; expected a head that was trained for it"
        )


def _body(target: Model, longest: int) -> MakeBody:
    """What runs a head's layers: kernels where the device leads rounds."""
    if target.device is None:
        return HeadBody
    from specdec.drafters.heads import kernels
    from specdec.kernels.tiles import Tiles

    rows = target.info.slots * (longest + 1)
    gpu = torch.cuda.get_device_name(target.info.device) if target.info.device.type == "cuda" else "none"

    def make(family: ModelFamily, layers: Sequence[HeadLayer]) -> HeadBody:
        if not kernels.supported(family, layers):
            return HeadBody(family, layers)
        fast, plain = kernels.KernelBody(family, layers, rows, Tiles(gpu)), HeadBody(family, layers)
        if kernels.agree(fast, plain, target.info.device, target.info.dtype):
            return fast
        warnings.warn(
            "the head runs without kernels: here they do not compute what torch does", RuntimeWarning, stacklevel=2
        )
        return plain

    return make
