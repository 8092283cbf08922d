"""The contract of what runs one model over slots: a `Batch` in, a `Pass` out.

A model owns its weights, and what its slots hold (`state`). The caller says where each row starts; a smaller start than
before takes back what lies beyond it, whatever the model keeps: keys and values, or recurrent state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, Protocol, TypedDict

import torch
from torch import Tensor

from specdec.models.state import SlotState
from specdec.types import MAX_SPECULATIVE_TOKENS
from specdec.types.load import KvDtype

DECODE_ROWS = MAX_SPECULATIVE_TOKENS + 1
"""Tokens of one sequence in a round, at most."""


def kept_in(kv_dtype: KvDtype, dtype: torch.dtype) -> torch.dtype:
    """The precision of keys and values, in a model that computes in `dtype`."""
    return torch.float8_e4m3fn if kv_dtype == "fp8" else dtype


class ModelOptions(TypedDict):
    """What is decided before a checkpoint is loaded (see `ModelInfo`)."""

    name: str
    device: torch.device
    dtype: torch.dtype
    context: int
    slots: int
    known: NotRequired[int | None]
    shortened: NotRequired[bool]
    kv_dtype: NotRequired[KvDtype]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Constant facts of a loaded model."""

    name: str
    architecture: str
    backend: str
    """What runs it, for display: "eager", "triton", "transformers", "transformers, graphs"."""
    vocab_size: int
    """Width of the logits; may exceed the tokenizer's."""
    context: int
    """Positions a slot can hold for the caller (the cache itself holds DECODE_ROWS more)."""
    slots: int
    device: torch.device
    dtype: torch.dtype
    parameters: int
    weight_bytes: int
    cache_bytes: int
    weight_format: str = ""
    """What the weights are in, for display."""
    known: int | None = None
    """Positions that it was made for, where it says."""
    shortened: bool = False
    """Whether `context` is what memory holds, and less than what the model could."""
    kv_dtype: KvDtype = "auto"
    """What keys and values are kept in (see `LoadOptions`)."""
    together: int = 1
    """A prompt is read in multiples of this many tokens. What is left at its end is read by itself, or, up to a quarter
    of this, with the piece before it. In other pieces the last bits of the results would differ."""
    captured: bool = False
    """Whether short passes are captured as graphs, one for each size. Up to some rows all cost about the same."""

    @property
    def longer(self) -> str:
        """Why `context` ends where it does, and what would make it longer; empty where the model ends there."""
        if self.shortened:
            kept = "kv_dtype='fp8', " if self.kv_dtype == "auto" and self.device.type == "cuda" else ""
            return f"as much as the memory left holds; {kept}smaller weights or no draft model would leave more"
        if self.known is not None and self.known > self.context:
            return f"the model goes up to {self.known}; a larger context at load holds more"
        return ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens [B, M] (int64, on the model's device) for the rows of one pass.

    Row b sits in slot slots[b] at positions starts[b] .. starts[b] + M - 1 and attends to what the slot holds below
    starts[b] and to itself, causally. What the slot held at or beyond starts[b] is overwritten or forgotten. Rows may
    be padded at the end with any valid id: the caller overwrites them later.
    """

    tokens: Tensor
    slots: Sequence[int]
    starts: Sequence[int]
    keep: int
    """Logits of the last so many positions, 0 <= keep <= M."""
    features: tuple[int, ...] = ()
    """Which layers' outputs are wanted, by transformers' numbers: 0 is the embedding, i the output of the i-th layer,
    the last what the head reads (behind the last norm)."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What a batch gave."""

    logits: Tensor
    """[B, keep, V] fp32"""
    features: Tensor | None = None
    """[B, M, n * H] in the model's dtype, the wanted outputs side by side; None where none were."""


def joined(passes: Sequence[Pass], along: int) -> Pass:
    """One pass of several, side by side in rows (0) or in tokens (1)."""
    if len(passes) == 1:
        return passes[0]
    features = [part.features for part in passes if part.features is not None]
    logits = torch.cat([part.logits for part in passes], along)
    return Pass(logits, torch.cat(features, along) if features else None)


def in_pieces(batch: Batch, longest: int, run: Callable[[Batch], Pass]) -> Pass:
    """What `run` gives, of up to `longest` tokens a row at a time."""
    count, passes = batch.tokens.shape[1], []
    for at in range(0, count, longest):
        piece = batch.tokens[:, at : at + longest]
        left = count - at - piece.shape[1]
        keep = min(max(batch.keep - left, 0), piece.shape[1])
        passes.append(run(Batch(piece, batch.slots, [start + at for start in batch.starts], keep, batch.features)))
    return joined(passes, 1)


def in_groups(batch: Batch, most: int, run: Callable[[Batch], Pass]) -> Pass:
    """What `run` gives, of up to `most` rows at a time."""
    groups = [slice(at, at + most) for at in range(0, len(batch.slots), most)]
    parts = (replace(batch, tokens=batch.tokens[g], slots=batch.slots[g], starts=batch.starts[g]) for g in groups)
    return joined([run(part) for part in parts], 0)


class ModelEnds(Protocol):
    """A model's embedding and head, for draft heads that share them. On any device; they may be part of a graph."""

    @property
    def hidden(self) -> int:
        """Width of the residual stream, and of one layer's output."""
        ...

    @property
    def layers(self) -> int: ...

    @property
    def rounded(self) -> bool:
        """Whether they are kept in few bits."""
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [...] int64 -> [..., H]."""
        ...

    def unembed(self, x: Tensor) -> Tensor:
        """Normed x [R, H] -> logits [R, V] fp32."""
        ...


class DeviceModel(Protocol):
    """What a model does inside a captured round: everything it is told lies on the device."""

    capacity: int
    """Positions a slot holds."""
    spare: int
    """The slot of rows that only fill up a graph."""
    sizes: tuple[int, ...]
    """Numbers of rows for which there are graphs."""

    @property
    def graph_bytes(self) -> int: ...

    def decode(
        self,
        tokens: Tensor,
        slots: Tensor,
        starts: Tensor,
        keep: Tensor | None = None,
        *,
        features: tuple[int, ...] = (),
    ) -> Pass:
        """tokens [B, M] int64 of rows in slots [B] int32 at positions starts [B] int32 on. Logits [B, M, V]; [B, 1, V]
        after the token keep[b] of each row."""
        ...


class Model(Protocol):
    """One model over slots. Not thread-safe: one worker calls it."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def state(self) -> SlotState: ...

    @property
    def device(self) -> DeviceModel | None:
        """None where its passes cannot be part of a captured round."""
        ...

    @property
    def ends(self) -> ModelEnds | None:
        """None where they cannot be had by themselves."""
        ...

    def run(self, batch: Batch) -> Pass: ...

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        """Whatever would otherwise make the first passes slow, with these `features` (see `Batch`)."""
        ...

    def prepare(self) -> bool:
        """Make the graph that passes have missed most; False where they missed none. For when there is nothing else to
        do: it takes up to some tenths of a second."""
        ...


class HostModel:
    """The defaults of models without graphs, whose passes are no part of a captured round."""

    device: DeviceModel | None = None
    ends: ModelEnds | None = None

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        """See `Model.warm_up`: there is nothing."""

    def prepare(self) -> bool:
        """See `Model.prepare`: there is nothing."""
        return False
