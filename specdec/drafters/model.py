"""Drafts from a smaller model of the same tokens (Leviathan et al. 2023; Chen et al. 2023).

The draft model runs over slots of its own, numbered as the target's. Its state says what a slot holds, so a rejected
draft, a round drafted by another drafter and a new sequence with a known prefix are all one case: run what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from specdec.drafters.base import DeviceRound, DraftContext, DraftRound, Drafts, Seen
from specdec.drafters.drawing import Drawing, fitted
from specdec.models.base import DECODE_ROWS, Batch, DeviceModel, Model
from specdec.transfer import to_device
from specdec.types import MAX_SPECULATIVE_TOKENS

_CHUNK, _CHUNK_ON_CPU = 2048, 512
"""Tokens of one sequence run at once while catching up."""
CATCH_UP = 4096
"""Tokens caught up in one round, over all sequences: who lacks more drafts nothing yet, and stalls nobody."""
_JOINT = DECODE_ROWS
"""A lag up to this is caught up by all sequences together: it is what other drafters can leave in one round."""
_PAIR = 2
"""A round on the device gives the draft model the last two tokens: all that a fully accepted round leaves unseen."""


class ModelDrafter:
    """What drafters that run a whole model have in common (see `base.LoadedDrafter`)."""

    free = False
    features: tuple[int, ...] = ()

    def __init__(self, model: Model) -> None:
        self.model, self.state = model, model.state
        self.source, self.parameters = model.info.name, model.info.parameters
        self.weight_bytes, self.cache_bytes = model.info.weight_bytes, model.info.cache_bytes

    def warm_up(self) -> None:
        """See `base.Drafter.warm_up`."""
        self.model.warm_up()

    def prepare(self) -> bool:
        """See `base.Drafter.prepare`."""
        return self.model.prepare()


class DraftModelDrafter(ModelDrafter):
    """Proposes by running the draft model k times. `vocab_size` is the width of the target's logits."""

    name = "model"
    longest = MAX_SPECULATIVE_TOKENS

    def __init__(self, model: Model, vocab_size: int, device: torch.device) -> None:
        super().__init__(model)
        self._vocab_size = vocab_size
        self.knows_fewer = model.info.vocab_size < vocab_size
        self._device = device
        self._translates = self.knows_fewer or model.info.device != device
        """Whether a draft has to be made one of the model's own tokens."""
        self._ahead: dict[int, int] = {}
        """Per slot: how many drafts of the last round went through the model too."""
        self.device = None if model.device is None else DeviceDraftModel(self, model.device)

    @classmethod
    def over(cls, model: Model, target: Model) -> DraftModelDrafter:
        """A draft model for this target."""
        return cls(model, target.info.vocab_size, target.info.device)

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """k tokens for each context, on the target's device; none for one beyond the draft model's context, or
        still too far behind."""
        plan = self._plan(round.contexts) if k > 0 else None
        sources = (self.name,) * len(round.contexts)
        if plan is None:
            empty = torch.zeros(len(round.contexts), k, dtype=torch.int64)
            return Drafts(empty, (0,) * len(round.contexts), sources)
        batch, ready = plan
        drawing, width = Drawing(round, k, self._vocab_size, self._device), batch.tokens.shape[1]
        tokens = drawing.choose(self.model.run(batch).logits, 0)
        for j in range(1, k):
            starts = [start + width + j - 1 for start in batch.starts]
            known = self._to_model(tokens) if self._translates else tokens
            tokens = drawing.choose(self.model.run(Batch(known, batch.slots, starts, keep=1)).logits, j)
        for row, context in enumerate(round.contexts):
            if ready[row]:
                self.model.state.commit(context.slot, len(context.tokens))
                self._ahead[context.slot] = k - 1  # the last draft was never run
        return Drafts(drawing.tokens, tuple(k if fits else 0 for fits in ready), sources, drawing.probs)

    def observe(self, seen: Seen) -> None:
        """See `Drafter.observe`: what was accepted of its own drafts is held already."""
        state, slot, length = self.model.state, seen.context.slot, len(seen.context.tokens)
        ahead = self._ahead.pop(slot, 0)
        if seen.drafter == self.name:
            held = length - _PAIR if seen.on_device else state.slots[slot].length + min(seen.count - 1, ahead)
            state.commit(slot, min(held, length))

    def release(self, context: DraftContext) -> None:
        """What the slot holds is kept, there and among the prefixes: another sequence may begin with the same
        tokens."""
        self._ahead.pop(context.slot, None)
        if self.model.state.slots[context.slot].tokens is context.tokens:
            self.model.state.leave(context.slot)

    def behind(self, context: DraftContext) -> int | None:
        """See `Drafter.behind`: all but the last token, whose logits are always wanted."""
        if len(context.tokens) > self.model.info.context:
            return None
        return max(len(context.tokens) - 1 - self.model.state.begin(context.slot, context.tokens), 0)

    def read(self, context: DraftContext, most: int) -> int:
        """See `Drafter.read`."""
        return self.approach(context, 1, most)

    def approach(self, context: DraftContext, lag: int, budget: int) -> int:
        """Run what the slot lacks of the sequence, all but the last token, if that is more than `lag`, but no more than
        `budget` tokens; returns how many."""
        state, slot, tokens = self.model.state, context.slot, context.tokens
        start = min(state.begin(slot, tokens), len(tokens) - 1)  # the last token's logits are always wanted
        state.commit(slot, start)
        if len(tokens) - start <= lag:
            return 0
        end = min(len(tokens) - 1, start + budget)
        longest = _CHUNK_ON_CPU if self.model.info.device.type == "cpu" else _CHUNK
        for at in range(start, end, longest):
            chunk = tokens[at : min(at + longest, end)]
            self.model.run(Batch(self._to_model([chunk]), [slot], [at], keep=0))
            state.commit(slot, at + len(chunk))
        if end == len(tokens) - 1:
            state.save(slot)
        return end - start

    def lag(self, context: DraftContext) -> int:
        """How many of the sequence's tokens the slot lacks."""
        return len(context.tokens) - self.model.state.slots[context.slot].length

    def _plan(self, contexts: Sequence[DraftContext]) -> tuple[Batch, list[bool]] | None:
        """Bring the slots to within one short pass of their sequences: the pass, and which of them are. None when none
        is.

        The pass is as wide as the longest lag. A row that lacks less runs some of its tokens again, which writes what
        is there already; a row that is not ready (lag 0) runs junk beyond what it holds."""
        room, state = self.model.info.context, self.model.state
        fitting = [len(c.tokens) for c in contexts if len(c.tokens) <= room]
        if not fitting:
            return None
        longest = min(_JOINT, *fitting)
        budget, lags = CATCH_UP, []
        for context in contexts:
            fits = len(context.tokens) <= room
            budget -= self.approach(context, longest, budget if fits else 0)
            lag = self.lag(context)
            lags.append(lag if lag <= longest and fits else 0)
        width = max(lags)
        if width == 0:
            return None
        tokens, starts = [], []
        for context, lag in zip(contexts, lags, strict=True):
            if lag == 0:
                state.commit(context.slot, min(state.slots[context.slot].length, room - width))
            starts.append(len(context.tokens) - width if lag else state.slots[context.slot].length)
            tokens.append(context.tokens[-width:] if lag else [0] * width)
        batch = Batch(self._to_model(tokens), [c.slot for c in contexts], starts, keep=1)
        return batch, [lag > 0 for lag in lags]

    def _to_model(self, tokens: Tensor | list[list[int]]) -> Tensor:
        """On the model's device; ids that the draft model does not know (added to the target only) become its
        last one, which costs acceptance and nothing else."""
        info = self.model.info
        if isinstance(tokens, list):
            tokens = to_device(tokens, info.device)
        return tokens.to(info.device).clamp(max=info.vocab_size - 1)

    def fit(self, logits: Tensor) -> Tensor:
        """See `drawing.fitted`."""
        return fitted(logits, self._vocab_size, self._device)


class DeviceDraftModel:
    """The draft model in rounds that the device leads (see `base.DeviceDrafter`)."""

    def __init__(self, drafter: DraftModelDrafter, model: DeviceModel) -> None:
        self._drafter, self._model = drafter, model
        self.capacity = model.capacity

    @property
    def graph_bytes(self) -> int:
        return self._model.graph_bytes

    def ready(self, contexts: Sequence[DraftContext]) -> bool:
        """See `base.DeviceDrafter.ready`: to within two tokens."""
        budget = CATCH_UP
        for context in contexts:
            if len(context.tokens) > self._drafter.model.info.context:
                return False
            budget -= self._drafter.approach(context, _PAIR, budget)
            if self._drafter.lag(context) > _PAIR:
                return False
        return True

    def reserve(self, contexts: Sequence[DraftContext], added: int) -> bool:
        """See `base.DeviceDrafter.reserve`."""
        prefixes = self._drafter.model.state.prefixes
        ends = [(context.slot, len(context.tokens) + added) for context in contexts]
        return all(prefixes.reserve(slot, end, end) for slot, end in ends)

    def propose(self, round: DeviceRound) -> None:
        """See `base.DeviceDrafter.propose`. The first pass takes the last two tokens [B, 2]: after a fully accepted
        round the model has seen neither."""
        tokens, at = round.pair, round.starts - 1
        keep: Tensor | None = torch.ones_like(round.slots)
        for j in range(round.verify.shape[1] - 1):
            if self._drafter.knows_fewer:
                tokens = tokens.clamp(max=self._drafter.model.info.vocab_size - 1)
            logits = self._model.decode(tokens, round.slots, at, keep).logits
            tokens = round.choose(self._drafter.fit(logits), j)
            round.verify[:, j + 1] = tokens[:, 0]
            at, keep = round.starts + (j + 1), None

    def observe(self, round: DeviceRound, features: Tensor, accepted: Tensor) -> None:
        """See `base.DeviceDrafter.observe`: it reads none."""
