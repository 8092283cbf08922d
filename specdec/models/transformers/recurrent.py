"""Models of transformers whose slots hold recurrent state: transformers' own cache, one of each slot."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from specdec.models.base import ModelInfo, Pass
from specdec.models.prefixes import Snapshot
from specdec.models.recurrent import Progress, RecurrentSlots
from specdec.models.transformers.model import Forward, TransformersEnds

CACHE_NAMES = ("past_key_values", "cache_params", "state")


class RecurrentModel(RecurrentSlots):
    """One model over slots (see `base.Model`)."""

    def __init__(self, model: Any, info: ModelInfo, *, chunks: bool = True) -> None:
        super().__init__(info, chunks=chunks)
        self.forward, self.ends = Forward(model), TransformersEnds.of(model)
        self.cache_name = next((n for n in CACHE_NAMES if n in self.forward.accepted), CACHE_NAMES[0])
        self._caches: list[Any] = [None] * info.slots

    def step(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """See `RecurrentSlots.step`."""
        held, self._caches[slot] = self._caches[slot], None
        options = {} if held is None else {self.cache_name: held}
        found, output = self.forward(tokens, keep, features, **options)
        self._caches[slot] = getattr(output, self.cache_name)
        return found

    def checkpoint(self, slot: int) -> Snapshot:
        """See `RecurrentSlots.checkpoint`."""
        state, nbytes = _cloned(self._caches[slot])
        return Snapshot(state, self.progress[slot].length, nbytes)

    def go_to(self, slot: int, checkpoint: Snapshot | None) -> None:
        """See `RecurrentSlots.go_to`."""
        self._caches[slot] = None if checkpoint is None else _cloned(checkpoint.state)[0]

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """See `prefixes.Snapshotted.snapshot`."""
        before = self.progress[slot].before
        return before if before is not None and before.length == length else self.checkpoint(slot)

    def resume(self, slot: int, snapshot: Snapshot) -> None:
        """See `prefixes.Snapshotted.resume`."""
        self.go_to(slot, snapshot)
        self.progress[slot] = Progress(snapshot.length, snapshot, snapshot.length)


def _cloned(state: Any) -> tuple[Any, int]:
    """A copy that passes over the original leave alone, and how many bytes it holds. Keys and values are shared: a pass
    puts new tensors in their place, where it writes into recurrent states."""
    memo: dict[int, Any] = {id(held): held for held in keys_values(state)}
    copied = copy.deepcopy(state, memo)
    return copied, sum(found.nbytes for found in memo.values() if isinstance(found, Tensor))


def keys_values(state: Any) -> list[Tensor]:
    """The keys and values in a state of transformers."""
    layers = getattr(state, "layers", ())
    found = [getattr(layer, name, None) for layer in layers for name in ("keys", "values")]
    return [held for held in found if isinstance(held, Tensor)]
