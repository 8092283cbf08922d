"""What models share whose slots hold recurrent state, alone or beside keys and values.

Such a state cannot be cut: what a token did to it cannot be taken back. So the state before a pass whose end may be
taken back is kept. When a row starts below the end, it goes on from there, and the accepted tokens in between run again
together with the new ones, in the same pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.models.base import DECODE_ROWS, Batch, HostModel, ModelInfo, Pass, joined
from specdec.models.prefixes import Snapshot, Snapshots
from specdec.models.state import SlotState
from specdec.threads.count import threads
from specdec.types import MAX_SPECULATIVE_TOKENS

_REPLAYED = MAX_SPECULATIVE_TOKENS
"""Tokens that run again beside new ones; more run on their own first, and what they come to is kept."""


@dataclass(slots=True)
class Progress:
    """How far a slot has come."""

    length: int = 0
    """Tokens that its state stands for."""
    before: Snapshot | None = None
    """The last state that was kept."""
    most: int = 0
    """Up to where the sequence has been; beyond `length` where it went back, or a pass failed."""


class RecurrentSlots(HostModel):
    """One model over slots (see `base.Model`); rows run one by one. What a state is, those who inherit know."""

    def __init__(self, info: ModelInfo, *, chunks: bool = True) -> None:
        self.info = info
        self.chunks = chunks
        """Whether a state can be carried on by several tokens at once."""
        self.state = SlotState(info.slots, Snapshots(self))
        self.progress = [Progress() for _ in range(info.slots)]

    def step(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """Carry the slot's state through tokens [1, M], in one go."""
        raise NotImplementedError

    def checkpoint(self, slot: int) -> Snapshot:
        """The slot's state as it is now, for the slot itself to return to."""
        raise NotImplementedError

    def go_to(self, slot: int, checkpoint: Snapshot | None) -> None:
        """Return to a checkpoint of the slot's sequence; None: to nothing."""
        raise NotImplementedError

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """See `prefixes.Snapshotted.snapshot`."""
        raise NotImplementedError

    def resume(self, slot: int, snapshot: Snapshot) -> None:
        """See `prefixes.Snapshotted.resume`."""
        raise NotImplementedError

    def kept(self, slot: int) -> list[int]:
        """See `prefixes.Snapshotted.kept`."""
        progress = self.progress[slot]
        before = [progress.before.length] if progress.before else []
        return sorted((progress.length, *before), reverse=True)

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        threads.fit()
        passes = []
        for tokens, slot, start in zip(torch.split(batch.tokens, 1), batch.slots, batch.starts, strict=True):
            again = torch.tensor([self._go_back(slot, start)], dtype=torch.int64, device=tokens.device)
            again = again.clamp(max=self.info.vocab_size - 1)  # a draft model may know fewer ids than its target
            alone = again.shape[1] > (_REPLAYED if self.chunks else 0)
            if alone:
                self._carry_on(again, slot, 0, ())
                again = again[:, :0]
            if alone or (1 < tokens.shape[1] <= DECODE_ROWS and again.shape[1] == 0):
                self._keep(slot)
            read = self._read if tokens.shape[1] > DECODE_ROWS else self._carry_on
            found = read(torch.cat((again, tokens), 1), slot, batch.keep, batch.features)
            features = None if found.features is None else found.features[:, again.shape[1] :]
            passes.append(Pass(found.logits, features))
        return joined(passes, 0)

    def _keep(self, slot: int) -> None:
        """Keep the state as it is now."""
        progress = self.progress[slot]
        if progress.before is None or progress.before.length != progress.length:
            progress.before = self.checkpoint(slot)

    def _go_back(self, slot: int, start: int) -> list[int]:
        """Bring the slot's state to `start`, or to the last one kept below; returns the tokens in between."""
        progress, tokens = self.progress[slot], self.state.slots[slot].tokens
        if progress.length == start > 0:
            return []
        if start > min(len(tokens), progress.most):
            raise ValueError(f"slot {slot} holds {progress.most} positions; expected a start up to there, not {start}")
        kept = progress.before
        if kept is not None and kept.length > start:
            kept = None
        self.go_to(slot, kept)
        self.progress[slot] = Progress(kept.length if kept else 0, kept, progress.most if start else 0)
        return tokens[self.progress[slot].length : start]

    def _read(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """Part of a prompt [1, M], with its end if there are logits to `keep`. The state is kept where the same prompt
        would be taken up: before its last token, whose logits are wanted again."""
        early = tokens.shape[1] - min(keep, 1)
        found = self._carry_on(tokens[:, :early], slot, max(keep - 1, 0), features)
        self._keep(slot)
        return joined([found, self._carry_on(tokens[:, early:], slot, 1, features)], 1) if keep else found

    def _carry_on(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """The slot's state through tokens [1, M]."""
        if self.progress[slot].length == 0 or self.chunks:
            return self._advance(tokens, slot, keep, features)
        whole = joined([self._advance(token, slot, 1, features) for token in torch.split(tokens, 1, 1)], 1)
        return Pass(whole.logits[:, tokens.shape[1] - keep :], whole.features)

    def _advance(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        progress = self.progress[slot]
        try:
            found = self.step(tokens, slot, keep, features)
        except BaseException:
            progress.length = 0  # its state is half written
            raise
        progress.length += tokens.shape[1]
        progress.most = max(progress.most, progress.length)
        return found
