"""GGUF models through llama.cpp, on a CPU, in the quantised types that they are stored in.

Its products take other paths for one row than for several, and sum in another order: unlike elsewhere here, a row's
logits may differ in the last bits with the rows beside it.
"""

from __future__ import annotations

import numpy as np

from specdec.errors import UnsupportedModel
from specdec.models.base import Batch, HostModel, ModelInfo, Pass
from specdec.models.llamacpp.context import LlamaContext, Run
from specdec.models.prefixes import Snapshot, Snapshots
from specdec.models.state import SlotState, shared_prefix
from specdec.threads.count import threads


class LlamaCppModel(HostModel):
    """One model over slots (see `base.Model`); a slot is a sequence of llama.cpp's, which is cut anywhere."""

    def __init__(self, context: LlamaContext, info: ModelInfo) -> None:
        self.context, self.info = context, info
        self.state = SlotState(info.slots, CutSnapshots(self))

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        check_features(batch.features, self.info)
        end = max(batch.starts) + batch.tokens.shape[1]
        if end > self.context.capacity:
            raise ValueError(f"positions up to {end}; a slot holds {self.context.capacity}")
        runs = [Run(*row) for row in zip(batch.slots, batch.starts, batch.tokens.tolist(), strict=True)]
        for run in runs:
            self.context.cut(run.sequence, run.start)
        threads.fit()
        return Pass(self.context.decode(runs, batch.keep))

    def kept(self, slot: int) -> list[int]:
        """See `prefixes.Snapshotted.kept`."""
        return [self.state.slots[slot].length]

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """See `prefixes.Snapshotted.snapshot`. It may hold more: passes begin with a cut."""
        held = self.context.saved(slot)
        return Snapshot(held, length, held.nbytes)

    def resume(self, slot: int, snapshot: Snapshot) -> None:
        """See `prefixes.Snapshotted.resume`."""
        self.context.cut(slot, 0)
        if snapshot.length:
            assert isinstance(snapshot.state, np.ndarray)
            self.context.restore(slot, snapshot.state)


def check_features(features: tuple[int, ...], info: ModelInfo) -> None:
    """Raise UnsupportedModel where outputs of layers are asked for."""
    if features:
        raise UnsupportedModel(f"{info.name}: llama.cpp gives no hidden states; expected a drafter without")


class CutSnapshots(Snapshots):
    """States that are cut to what a sequence shares with them."""

    def reachable(self, slot: int, length: int) -> int:  # noqa: ARG002
        """See `state.Prefixes.reachable`."""
        return length

    def save(self, slot: int, tokens: list[int]) -> None:
        """See `state.Prefixes.save`. States that the new one begins with go."""
        if any(shared_prefix(list(kept), tokens) == len(tokens) for kept in self._kept):
            return
        for kept in [kept for kept in self._kept if kept == tuple(tokens[: len(kept)])]:
            self.drop(kept)
        super().save(slot, tokens)

    def restore(self, slot: int, tokens: list[int], held: int) -> int:
        """See `state.Prefixes.restore`."""
        shared = {kept: shared_prefix(list(kept), tokens) for kept in self._kept}
        best = max(shared, key=shared.__getitem__, default=())
        if not best or shared[best] <= held:
            return held
        self._kept.move_to_end(best)
        self._model.resume(slot, self._kept[best])
        return shared[best]
