"""Models of transformers whose slots hold recurrent state, alone or beside keys and values.

Such a state cannot be cut: what a token did to it cannot be taken back. So the state before a pass whose end may be
taken back is kept. When a row starts below the end, it goes on from there, and the accepted tokens in between run again
together with the new ones, in the same pass.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specdec.models.base import DECODE_ROWS, Batch, HostModel, ModelInfo, Pass, joined
from specdec.models.prefixes import Snapshot, Snapshots
from specdec.models.state import SlotState
from specdec.models.transformers.model import Forward, TransformersEnds
from specdec.threads.count import threads
from specdec.types import MAX_SPECULATIVE_TOKENS

CACHE_NAMES = ("past_key_values", "cache_params", "state")
_REPLAYED = MAX_SPECULATIVE_TOKENS
"""Tokens that run again beside new ones; more run on their own first, and what they come to is kept."""


@dataclass(slots=True)
class _RecurrentState:
    """A slot's state after `length` tokens, and the last one that was kept, before them."""

    state: Any = None
    length: int = 0
    before: Snapshot | None = None
    most: int = 0
    """Up to where the sequence has been; beyond `length` where it went back, or a pass failed."""

    def keep(self) -> None:
        """Keep the state as it is now."""
        if self.before is None or self.before.length != self.length:
            self.before = _snapshot(self)


class RecurrentModel(HostModel):
    """One model over slots (see `base.Model`); rows run one by one."""

    def __init__(self, model: Any, info: ModelInfo, *, chunks: bool = True) -> None:
        self.forward, self.info = Forward(model), info
        self.cache_name = next((n for n in CACHE_NAMES if n in self.forward.accepted), CACHE_NAMES[0])
        self.state = SlotState(info.slots, Snapshots(self))
        self.ends = TransformersEnds.of(model)
        self.chunks = chunks
        """Whether a state can be carried on by several tokens at once."""
        self._live = [_RecurrentState() for _ in range(info.slots)]

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        threads.fit()
        passes = []
        for tokens, slot, start in zip(torch.split(batch.tokens, 1), batch.slots, batch.starts, strict=True):
            again = torch.tensor([self._go_back(slot, start)], dtype=torch.int64, device=tokens.device)
            again = again.clamp(max=self.info.vocab_size - 1)  # a draft model may know fewer ids than its target
            live, alone = self._live[slot], again.shape[1] > (_REPLAYED if self.chunks else 0)
            if alone:
                self._carry_on(again, slot, 0, ())
                again = again[:, :0]
            if alone or (1 < tokens.shape[1] <= DECODE_ROWS and again.shape[1] == 0):
                live.keep()
            read = self._read if tokens.shape[1] > DECODE_ROWS else self._carry_on
            found = read(torch.cat((again, tokens), 1), slot, batch.keep, batch.features)
            features = None if found.features is None else found.features[:, again.shape[1] :]
            passes.append(Pass(found.logits, features))
        return joined(passes, 0)

    def kept(self, slot: int) -> list[int]:
        """See `prefixes.Snapshotted.kept`."""
        live = self._live[slot]
        return sorted((live.length, *([live.before.length] if live.before else [])), reverse=True)

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """See `prefixes.Snapshotted.snapshot`."""
        live = self._live[slot]
        if live.before is not None and live.before.length == length:
            return live.before
        return _snapshot(live)

    def resume(self, slot: int, snapshot: Snapshot) -> None:
        """See `prefixes.Snapshotted.resume`."""
        self._live[slot] = _RecurrentState(_cloned(snapshot.state)[0], snapshot.length, snapshot, snapshot.length)

    def _go_back(self, slot: int, start: int) -> list[int]:
        """Bring the slot's state to `start`, or to the last one kept below; returns the tokens in between."""
        live, tokens = self._live[slot], self.state.slots[slot].tokens
        if live.length == start > 0:
            return []
        if start > min(len(tokens), live.most):
            raise ValueError(f"slot {slot} holds {live.most} positions; expected a start up to there, not {start}")
        if live.before is not None and live.before.length <= start:
            self.resume(slot, live.before)
        else:
            self._live[slot] = _RecurrentState()
        self._live[slot].most = live.most if start else 0
        return tokens[self._live[slot].length : start]

    def _read(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """Part of a prompt [1, M], with its end if there are logits to `keep`. The state is kept where the same prompt
        would be taken up: before its last token, whose logits are wanted again."""
        early = tokens.shape[1] - min(keep, 1)
        found = self._carry_on(tokens[:, :early], slot, max(keep - 1, 0), features)
        self._live[slot].keep()
        return joined([found, self._carry_on(tokens[:, early:], slot, 1, features)], 1) if keep else found

    def _carry_on(self, tokens: Tensor, slot: int, keep: int, features: tuple[int, ...]) -> Pass:
        """The slot's state through tokens [1, M]."""
        live = self._live[slot]
        if live.length == 0 or self.chunks:
            return self._step(tokens, live, keep, features)
        whole = joined([self._step(token, live, 1, features) for token in torch.split(tokens, 1, 1)], 1)
        return Pass(whole.logits[:, tokens.shape[1] - keep :], whole.features)

    def _step(self, tokens: Tensor, live: _RecurrentState, keep: int, features: tuple[int, ...]) -> Pass:
        options = {} if live.state is None else {self.cache_name: live.state}
        length = live.length
        live.state, live.length = None, 0  # a pass that fails leaves its state half written
        found, output = self.forward(tokens, keep, features, **options)
        live.state, live.length = getattr(output, self.cache_name), length + tokens.shape[1]
        live.most = max(live.most, live.length)
        return found


def _snapshot(live: _RecurrentState) -> Snapshot:
    state, nbytes = _cloned(live.state)
    return Snapshot(state, live.length, nbytes)


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
