"""A head as a drafter.

The target's features come as it sees tokens. The newest wait in a ring, one a slot, until the head reads them: when it
drafts, or when there are many. So a head that does not pay costs next to nothing.

Its keys and values lie in slots numbered as the target's, and earlier ones are found again for sequences that begin
alike. Where the target knows a prefix that the head does not, the head starts behind it. Of long sequences it sees the
newest part: published heads were trained on a few thousand tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from specdec.drafters.base import DeviceRound, DraftContext, DraftRound, Drafts, Seen, UpToDate
from specdec.drafters.drawing import Drawing, fitted
from specdec.drafters.heads.base import FeatureWindow, Head
from specdec.drafters.heads.cache import HeadCache
from specdec.drafters.heads.config import HeadConfig
from specdec.models.base import DECODE_ROWS, DeviceModel, ModelInfo
from specdec.models.prefixes import PrefixTree
from specdec.models.state import Slot, SlotState
from specdec.transfer import to_device

WINDOW = 8192
"""Positions that a slot holds, at most; at least half as many are the newest ones."""
RING = 128
"""Positions whose features a slot keeps."""
_MARGIN = DECODE_ROWS + RING
"""Positions of a slot beyond those of the sequence: what waits, and drafts."""
_MOST_WAITING = 64
"""More than these are read. What rounds under way add must fit beside them."""
_LEAST_CHANCE = 0.1
"""A draft that is less likely to be accepted, all before it too, costs more to verify than it brings."""
_CHUNK = 512
"""Positions of a prompt read at once."""


def elements_of_slot(config: HeadConfig) -> int:
    """Numbers that a slot of such a head takes."""
    family = config.family
    kept = 2 * family.layers * family.kv_heads * family.head_dim * (WINDOW + _MARGIN)
    return kept + RING * len(config.features) * config.target_hidden


class HeadDrafter(UpToDate):
    """See `base.Drafter`."""

    free = False

    def __init__(
        self, head: Head, target: ModelInfo, source: str, parameters: int, weight_bytes: int, rounds: DeviceModel | None
    ) -> None:
        config = head.config
        self.source, self.parameters, self.weight_bytes = source, parameters, weight_bytes
        self.name, self.features, self.longest = str(config.method), config.features, config.longest
        self.head, self.vocab_size, self._place = head, target.vocab_size, target.device
        capacity = min(target.context, WINDOW) + _MARGIN
        self.cache = HeadCache(config.family, target.slots, capacity, target.device, target.dtype)
        self.state = SlotState(target.slots, PrefixTree(self.cache.keys_values))
        width = len(config.features) * config.target_hidden
        self.ring = torch.zeros(target.slots + 1, RING, width, dtype=target.dtype, device=target.device)
        self._base = [0] * target.slots
        """Per slot: the position with which it begins."""
        self._told = [0] * target.slots
        """Per slot: from which position on features have come. What was known before has none, as in a paused row."""
        self._seen = [0] * target.slots
        """Per slot: of how many positions the features have come."""
        self.device = None if rounds is None else DeviceHead(self, rounds)

    @property
    def cache_bytes(self) -> int:
        """What its slots take."""
        return self.cache.tensor.nbytes + self.ring.nbytes

    def observe(self, seen: Seen) -> None:
        """See `base.Drafter.observe`. Where there is no memory to read it, the head begins anew behind it."""
        try:
            self._hear(seen)
        except torch.OutOfMemoryError:  # no answer depends on it
            self.state.slots[seen.context.slot] = Slot()

    def _hear(self, seen: Seen) -> None:
        slot, end = seen.context.slot, seen.start + seen.count
        known = seen.start == 0 and seen.features is None and not seen.on_device
        if seen.on_device and seen.drafter == self.name:  # the round began by reading what waited
            self.state.commit(slot, seen.start)
        if seen.start == 0 or not self.belongs(seen.context):
            self._begin(seen.context, seen.count if known else seen.start)
        if known:
            return
        if seen.features is not None and seen.count > _MOST_WAITING:
            self.catch_up(seen.context)
            self._read_chunk(seen.context, seen.start, seen.features)
        self._seen[slot] = min(end, len(seen.context.tokens))
        if seen.features is not None:
            kept = seen.features[-RING:]
            at = torch.arange(end - len(kept), end, device=self.ring.device) % RING
            self.ring[slot].index_copy_(0, at, kept.to(self.ring.dtype))
        prompt = seen.context.prompt_length
        if self.waiting(seen.context) > _MOST_WAITING or seen.start < prompt <= end:
            self.catch_up(seen.context)
        if seen.start < prompt <= end and not self._base[slot]:  # others may begin like this one
            self.state.save(slot, prompt - 1)

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """k tokens for each context, on the target's device; none for one of whose last token the target has told
        nothing."""
        contexts, sources = round.contexts, (self.name,) * len(round.contexts)
        for context in contexts:
            if not self.belongs(context):  # calibration
                self._begin(context, len(context.tokens) - 2)
                self._seen[context.slot] = len(context.tokens) - 1
        k = min(k, self.longest)
        lags = [self.waiting(context) for context in contexts]
        drawing = Drawing(round, k, self.vocab_size, self._place)
        chances = None
        if k:
            block = self.head.config.block  # what a proposal writes to behind the last token
            ahead = block.size if block is not None else k
            chances = self.head.propose(self._window(contexts, max(1, *lags), ahead), k, drawing.choose)
        follows = [self.follows(context) for context in contexts]
        for context in (c for c, knows in zip(contexts, follows, strict=True) if knows):
            self.state.commit(context.slot, len(context.tokens) - 1)
        lengths = [k if knows else 0 for knows in follows]
        if chances is not None and any(round.shortened):
            likely = (chances.cumprod(1) >= _LEAST_CHANCE).sum(1).clamp(min=1).tolist()
            short = zip(lengths, likely, round.shortened, strict=True)
            lengths = [min(length, most) if shorten else length for length, most, shorten in short]
        return Drafts(drawing.tokens, tuple(lengths), sources, drawing.probs)

    def release(self, context: DraftContext) -> None:
        """What the slot holds is kept, if it holds all."""
        if not self.belongs(context):
            return
        with suppress(torch.OutOfMemoryError):
            self.catch_up(context)
        if self._base[context.slot] == 0:
            self.state.save(context.slot)

    def follows(self, context: DraftContext) -> bool:
        """Whether it has the features of all that the target has seen of the sequence, the last token's at least."""
        seen = self._seen[context.slot]
        return self.belongs(context) and self._told[context.slot] < seen == len(context.tokens) - 1

    def stands(self, context: DraftContext) -> tuple[int, int]:
        """Up to which position it has read the sequence, and with which one its slot begins."""
        return self.state.slots[context.slot].length, self._base[context.slot]

    def catch_up(self, context: DraftContext) -> None:
        """Read what waits."""
        while lag := self.waiting(context):
            self.head.extend(self._window([context], lag, at=self._seen_end(context)))
            self.state.commit(context.slot, self._seen_end(context))

    def belongs(self, context: DraftContext) -> bool:
        """Whether its slot is the sequence's."""
        return self.state.slots[context.slot].tokens is context.tokens

    def _seen_end(self, context: DraftContext) -> int:
        """Up to where positions can be read: each takes the token behind it too."""
        return min(self._seen[context.slot], len(context.tokens) - 1)

    def waiting(self, context: DraftContext) -> int:
        """Positions whose features have come and are not read yet."""
        return max(self._seen_end(context) - self.state.slots[context.slot].length, 0)

    def _begin(self, context: DraftContext, start: int) -> None:
        """Give the slot to a sequence of which the target will tell from `start` on."""
        slot, base = context.slot, self._base[context.slot]
        if base and not base < start <= self.state.shared(slot, context.tokens):  # what it holds does not reach there
            self.state.commit(slot, 0)
            base = 0
        held = self.state.begin(slot, context.tokens, restore=not base)
        self._base[slot] = base if held >= start else start
        self._told[slot] = self._seen[slot] = start
        self.state.commit(slot, start)

    def make_room(self, slot: int, end: int) -> int:
        """Let the slot hold positions up to `end`; returns with which one it begins then."""
        while end - self._base[slot] > self.cache.capacity:
            self._base[slot] += self.cache.slide(slot)
        return self._base[slot]

    def _read_chunk(self, context: DraftContext, start: int, features: Tensor) -> None:
        """Read features [count, n * H] of positions from `start` on as they come."""
        end = min(start + len(features), len(context.tokens) - 1)
        size = min(_CHUNK, self.cache.capacity // 4)
        for low in range(start, end, size):
            high = min(low + size, end)
            chunk = features[low - start : high - start]
            self.head.extend(self._window([context], high - low, at=high, features=chunk))
            self.state.commit(context.slot, high)

    def _window(
        self,
        contexts: Sequence[DraftContext],
        width: int,
        ahead: int = 0,
        *,
        at: int | None = None,
        features: Tensor | None = None,
    ) -> FeatureWindow:
        """The positions below each sequence's last token, or below `at`, that were not read, `width` at most; one at
        least, which may have been. `ahead`: how many positions behind them drafts are kept in. `features` [W, n * H]
        are those of a single sequence; else the ring's."""
        ends = [len(c.tokens) - 1 if at is None else at for c in contexts]
        lows = [min(self.state.slots[c.slot].length, end - 1) for c, end in zip(contexts, ends, strict=True)]
        behind = [c.tokens[low + 1 : low + 1 + width] for c, low in zip(contexts, lows, strict=True)]
        tokens = to_device([[*row, *[0] * (width - len(row))] for row in behind], self.ring.device)
        ahead += width + 1
        bases = [self.make_room(c.slot, low + ahead) for c, low in zip(contexts, lows, strict=True)]
        spare = len(self._base)  # drafts for a sequence of whose last token nothing is known are no one's
        slots = [spare if at is None and not self.follows(c) else c.slot for c in contexts]
        rows = to_device([slots, ends, lows, bases], self.ring.device)
        end = max(low - base for low, base in zip(lows, bases, strict=True)) + ahead
        return window_of(self.cache, self.ring, rows, tokens, end=end, features=features)


def window_of(
    cache: HeadCache,
    ring: Tensor,
    rows: Tensor,
    tokens: Tensor,
    *,
    end: int | None = None,
    features: Tensor | None = None,
) -> FeatureWindow:
    """rows [4, B] int64: slots, the positions up to which and from which features are to be read, and those at which
    slots begin; tokens [B, W] behind the positions."""
    slots, ends, lows, bases = rows
    if features is None:
        at = lows.unsqueeze(1) + torch.arange(tokens.shape[1], device=tokens.device)
        features = ring[slots.unsqueeze(1), at % RING]
    else:
        features = features.unsqueeze(0)
    features = torch.nan_to_num(features, posinf=0.0, neginf=0.0)  # keys and values that are no numbers stay
    return FeatureWindow(cache, features, tokens, slots, lows - bases, ends - 1 - lows, end)


class DeviceHead:
    """The head in rounds that the device leads (see `base.DeviceDrafter`): in one graph it reads what the round before
    has brought, and proposes."""

    graph_bytes = 0

    def __init__(self, drafter: HeadDrafter, model: DeviceModel) -> None:
        self._drafter, head = drafter, drafter.head
        self._width = drafter.longest + 1
        """What a round may leave unread, and the next one reads."""
        self.capacity = model.capacity
        slots = drafter.cache.tensor.shape[1]
        self._where = torch.zeros(2, slots, dtype=torch.int64, device=drafter.ring.device)
        """Up to which position each slot is read, and with which one it begins."""
        self._vocab_size, self._head = drafter.vocab_size, head

    def ready(self, contexts: Sequence[DraftContext]) -> bool:
        """See `base.DeviceDrafter.ready`."""
        for context in contexts:
            if not self._drafter.follows(context):
                return False
            if self._drafter.waiting(context) > self._width:
                self._drafter.catch_up(context)
        known = [(c.slot, *self._drafter.stands(c)) for c in contexts]
        slots, *where = to_device([list(column) for column in zip(*known, strict=True)], self._where.device)
        self._where[:, slots] = torch.stack(where)
        return True

    def reserve(self, contexts: Sequence[DraftContext], added: int) -> bool:
        """See `base.DeviceDrafter.reserve`."""
        for context in filter(self._drafter.belongs, contexts):
            stood = self._drafter.stands(context)[1]
            base = self._drafter.make_room(context.slot, len(context.tokens) + added + DECODE_ROWS)
            if base != stood:
                self._where[1, context.slot] = base
        return True

    def propose(self, round: DeviceRound) -> None:
        """See `base.DeviceDrafter.propose`."""
        drafter, slots, ends = self._drafter, round.slots.long(), round.starts.long()
        held, bases = self._where[:, slots]
        lows = torch.minimum(held, ends - 1).clamp(min=0)
        behind = lows.unsqueeze(1) + torch.arange(1, self._width + 1, device=slots.device)
        tokens = round.tokens[slots.unsqueeze(1), behind.clamp(max=round.tokens.shape[1] - 1)]
        window = window_of(drafter.cache, drafter.ring, torch.stack((slots, ends, lows, bases)), tokens)

        def choose(logits: Tensor, first: int) -> Tensor:
            chosen = round.choose(fitted(logits, self._vocab_size, slots.device), first)
            round.verify[:, first + 1 : first + 1 + chosen.shape[1]] = chosen
            return chosen

        drafts = round.verify.shape[1] - 1
        round.verify[:, drafter.longest + 1 :] = 0
        self._head.propose(window, min(drafts, drafter.longest), choose)
        self._where[0].index_copy_(0, slots, ends)

    def observe(self, round: DeviceRound, features: Tensor, accepted: Tensor) -> None:  # noqa: ARG002
        """See `base.DeviceDrafter.observe`: those of drafts that were rejected are written over by the next round."""
        at = round.starts.long().unsqueeze(1) + torch.arange(features.shape[1], device=features.device)
        self._drafter.ring[round.slots.long().unsqueeze(1), at % RING] = features
