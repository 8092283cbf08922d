"""A head as a drafter.

The target's features come as it sees tokens. The newest wait in a ring, one a slot, until the head reads them: when it
drafts, or when there are many. So a head that does not pay costs next to nothing.

Its keys and values lie in slots numbered as the target's, and earlier ones are found again for sequences that begin
alike. Where the target knows a prefix that the head does not, the head starts behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from specdec.drafters.base import DraftContext, DraftRound, Drafts, Seen
from specdec.drafters.drawing import Drawing
from specdec.drafters.heads.base import FeatureWindow, Head
from specdec.drafters.heads.cache import HeadCache
from specdec.models.base import DECODE_ROWS, ModelInfo
from specdec.models.graphs import to_device
from specdec.models.prefixes import PrefixTree
from specdec.models.state import SlotState

RING = 128
"""Positions whose features a slot keeps."""
_MOST_WAITING = 64
"""More than these are read. What rounds under way add must fit beside them."""
_CHUNK = 512
"""Positions of a prompt read at once."""


class HeadDrafter:
    """See `base.Drafter`."""

    free = False
    device = None

    def __init__(self, head: Head, target: ModelInfo, source: str, parameters: int, weight_bytes: int) -> None:
        config = head.config
        self.source, self.parameters, self.weight_bytes = source, parameters, weight_bytes
        self.name, self.features, self.longest = str(config.method), config.features, config.longest
        self.head, self._target = head, target
        self.cache = HeadCache(config.family, target.slots, target.context + DECODE_ROWS, target.device, target.dtype)
        self.state = SlotState(target.slots, PrefixTree(self.cache.keys_values))
        width = len(config.features) * config.target_hidden
        self.ring = torch.zeros(target.slots + 1, RING, width, dtype=target.dtype, device=target.device)
        self._first = [0] * target.slots
        """Per slot: below it the slot holds nothing of its sequence."""
        self._told = [0] * target.slots
        """Per slot: of how many positions the features have come."""

    @property
    def cache_bytes(self) -> int:
        """What its slots take."""
        return self.cache.tensor.nbytes + self.ring.nbytes

    def observe(self, seen: Seen) -> None:
        """See `base.Drafter.observe`."""
        slot, end = seen.context.slot, seen.start + seen.count
        known = seen.start == 0 and seen.features is None and not seen.on_device
        if seen.start == 0 or not self._belongs(seen.context):
            self._begin(seen.context, seen.count if known else seen.start)
        if known:
            return
        if seen.features is not None and seen.count > _MOST_WAITING:
            self.catch_up(seen.context)
            self._read_chunk(seen.context, seen.start, seen.features)
        self._told[slot] = min(end, len(seen.context.tokens))
        if seen.features is not None:
            kept = seen.features[-RING:]
            at = torch.arange(end - len(kept), end, device=self.ring.device) % RING
            self.ring[slot].index_copy_(0, at, kept.to(self.ring.dtype))
        prompt = seen.context.prompt_length
        if self._waiting(seen.context) > _MOST_WAITING or seen.start < prompt <= end:
            self.catch_up(seen.context)
        if seen.start < prompt <= end and not self._first[slot]:  # others may begin like this one
            self.state.save(slot, prompt - 1)

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """k tokens for each context, on the target's device; none for one of whose last token the target has told
        nothing."""
        contexts, sources = round.contexts, (self.name,) * len(round.contexts)
        for context in contexts:
            if not self._belongs(context):  # calibration
                self._begin(context, len(context.tokens) - 2)
                self._told[context.slot] = len(context.tokens) - 1
        k = min(k, self.longest)
        lags = [self._waiting(context) for context in contexts]
        drawing = Drawing(round, k, self._target.vocab_size, self._target.device)
        if k:
            self.head.propose(self._window(contexts, max(1, *lags), self._ahead(k)), k, drawing.choose)
        for context in contexts:
            self.state.commit(context.slot, len(context.tokens) - 1)
        ready = [self._told[c.slot] == len(c.tokens) - 1 for c in contexts]
        return Drafts(drawing.tokens, tuple(k if told else 0 for told in ready), drawing.probs, sources)

    def release(self, context: DraftContext) -> None:
        """What the slot holds is kept, if it holds all."""
        if self._belongs(context) and self._first[context.slot] == 0:
            self.catch_up(context)
            self.state.save(context.slot)

    def catch_up(self, context: DraftContext) -> None:
        """Read what waits."""
        while lag := self._waiting(context):
            self.head.extend(self._window([context], lag, 0, at=self._told_end(context)))
            self.state.commit(context.slot, self._told_end(context))

    def _belongs(self, context: DraftContext) -> bool:
        return self.state.slots[context.slot].tokens is context.tokens

    def _told_end(self, context: DraftContext) -> int:
        """Up to where positions can be read: each takes the token behind it too."""
        return min(self._told[context.slot], len(context.tokens) - 1)

    def _waiting(self, context: DraftContext) -> int:
        return max(self._told_end(context) - self.state.slots[context.slot].length, 0)

    def _ahead(self, k: int) -> int:
        """Positions behind the last token that a proposal of k tokens writes to."""
        block = self.head.config.block
        return block.size if block is not None else k

    def _begin(self, context: DraftContext, start: int) -> None:
        """Give the slot to a sequence of which the target will tell from `start` on."""
        slot = context.slot
        if self._first[slot]:  # what it holds begins somewhere
            self.state.commit(slot, 0)
        held = self.state.begin(slot, context.tokens)
        self._first[slot] = 0 if held >= start else start
        self._told[slot] = start
        self.state.commit(slot, start)

    def _read_chunk(self, context: DraftContext, start: int, features: Tensor) -> None:
        """Read features [count, n * H] of positions from `start` on as they come."""
        end = min(start + len(features), len(context.tokens) - 1)
        for low in range(start, end, _CHUNK):
            high = min(low + _CHUNK, end)
            self.head.extend(self._window([context], high - low, 0, at=high, features=features[low - start :]))
        self.state.commit(context.slot, max(end, start))

    def _window(
        self,
        contexts: Sequence[DraftContext],
        width: int,
        ahead: int,
        *,
        at: int | None = None,
        features: Tensor | None = None,
    ) -> FeatureWindow:
        """The `width` positions below each sequence's last token, or below `at`; where some are read already, or are
        not there, they are read again and not kept."""
        device, slots = self.ring.device, [c.slot for c in contexts]
        ends = [len(c.tokens) - 1 if at is None else at for c in contexts]
        tokens = [
            [*[0] * (width - end), *c.tokens[max(end - width + 1, 1) : end + 1]]
            for c, end in zip(contexts, ends, strict=True)
        ]
        held = [self.state.slots[slot].length for slot in slots]
        rows = to_device([slots, ends, held, [self._first[slot] for slot in slots]], device)  # [4, B]
        return window_of(
            self.cache, self.ring, rows, to_device(tokens, device), end=max(ends) + ahead + 1, features=features
        )


def window_of(
    cache: HeadCache,
    ring: Tensor,
    rows: Tensor,
    tokens: Tensor,
    *,
    end: int | None = None,
    features: Tensor | None = None,
) -> FeatureWindow:
    """The positions before `ends`, with the tokens [B, W] behind them. rows [4, B] int64: slots, ends, up to where each
    slot is read, and from where. `features` [W or more, n * H] are those of a single sequence; else the ring's."""
    slots, ends, held, first = rows
    width = tokens.shape[1]
    positions = ends.unsqueeze(1) + torch.arange(-width, 0, device=tokens.device)
    written = torch.where(positions >= held.unsqueeze(1), slots.unsqueeze(1), cache.spare)
    positions = positions.clamp(min=0)
    found = ring[slots.unsqueeze(1), positions % RING] if features is None else features[:width].unsqueeze(0)
    return FeatureWindow(
        cache, torch.nan_to_num(found, posinf=0.0, neginf=0.0), tokens, slots, positions, first, written, end
    )
