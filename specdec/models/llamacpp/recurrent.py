"""Models of llama.cpp whose sequences hold recurrent state, alone or beside keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from specdec.models.base import ModelInfo, Pass
from specdec.models.llamacpp.context import PARTIAL, LlamaContext, Run
from specdec.models.llamacpp.model import check_features
from specdec.models.prefixes import Snapshot
from specdec.models.recurrent import Progress, RecurrentSlots


@dataclass(frozen=True, slots=True)
class _Saved:
    """A whole sequence, and the recurrent part of it some tokens earlier: keys and values are cut, it is not."""

    whole: np.ndarray
    earlier: np.ndarray | None


class RecurrentLlamaCppModel(RecurrentSlots):
    """One model over slots (see `base.Model`); a slot is a sequence of llama.cpp's."""

    def __init__(self, context: LlamaContext, info: ModelInfo) -> None:
        super().__init__(info)
        self.context = context

    def step(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """See `RecurrentSlots.step`."""
        check_features(features, self.info)
        return Pass(self.context.decode([Run(slot, self.progress[slot].length, tokens[0].tolist())], keep))

    def checkpoint(self, slot: int) -> Snapshot:
        """See `RecurrentSlots.checkpoint`. Only what cannot be cut."""
        held = self.context.saved(slot, PARTIAL)
        return Snapshot(held, self.progress[slot].length, held.nbytes)

    def go_to(self, slot: int, checkpoint: Snapshot | None) -> None:
        """See `RecurrentSlots.go_to`."""
        if checkpoint is None or checkpoint.length == 0:
            self.context.cut(slot, 0)
        else:
            self._put(slot, checkpoint.state, checkpoint.length)

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """See `prefixes.Snapshotted.snapshot`."""
        before, whole = self.progress[slot].before, self.context.saved(slot)
        earlier = before.state if before is not None and length == before.length < self.progress[slot].length else None
        assert earlier is None or isinstance(earlier, np.ndarray)
        nbytes = whole.nbytes + (0 if earlier is None else earlier.nbytes)
        return Snapshot(_Saved(whole, earlier), length, nbytes)

    def resume(self, slot: int, snapshot: Snapshot) -> None:
        """See `prefixes.Snapshotted.resume`."""
        self.context.cut(slot, 0)
        self.progress[slot] = Progress(snapshot.length, None, snapshot.length)
        if isinstance(saved := snapshot.state, _Saved):
            self.context.restore(slot, saved.whole)
            if saved.earlier is not None:
                self._put(slot, saved.earlier, snapshot.length)

    def _put(self, slot: int, recurrent: object, length: int) -> None:
        """The recurrent part as it was after `length` tokens, and of keys and values as many."""
        assert isinstance(recurrent, np.ndarray)
        self.context.restore(slot, recurrent, PARTIAL)
        if not self.context.cut(slot, length):
            raise torch.OutOfMemoryError(f"llama.cpp cannot take slot {slot} back to {length} tokens")
