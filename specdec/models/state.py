"""What the slots of one model hold: the one place that knows.

A slot holds the first `length` tokens of the sequence that it was given to, as keys and values or as recurrent state.
Sequences that begin alike share what was computed: in the slot itself, or through the model's `Prefixes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import torch


class Prefixes(Protocol):
    """What earlier sequences left behind, outside the slots."""

    limit: int
    """Bytes that may be kept."""
    apart: bool
    """Whether what is kept takes memory of its own, beside that of the slots."""

    @property
    def tokens(self) -> int:
        """How many tokens are kept."""
        ...

    def save(self, slot: int, tokens: list[int]) -> None:
        """Keep what the slot holds of `tokens`, which is all of them."""
        ...

    def restore(self, slot: int, tokens: list[int], held: int) -> int:
        """Bring the longest known prefix of `tokens` into the slot, which holds `held` of them already; returns how
        many it holds then."""
        ...

    def wipe(self, slot: int) -> None:
        """Clear the slot itself."""
        ...

    def reachable(self, slot: int, length: int) -> int:
        """The most positions, up to `length`, from which the slot can go on."""
        ...

    def reserve(self, slot: int, start: int, length: int) -> bool:
        """Make room for the slot's first `length` positions, of which those from `start` on are to be written; False
        where there is none left."""
        ...

    def fits(self, tokens: list[int], more: int, running: Iterable[tuple[int, int]]) -> bool:
        """Whether there is room for these tokens and some more, beside those that run: their slots, and how long they
        will be."""
        ...

    def leave(self, slot: int) -> bool:
        """The slot's sequence has left; whether the slot still holds what it held."""
        ...


class OwnSlots:
    """The defaults of `Prefixes` of slots that have all of their memory from the start."""

    apart = True

    def reserve(self, slot: int, start: int, length: int) -> bool:  # noqa: ARG002
        """See `Prefixes.reserve`."""
        return True

    def fits(self, tokens: list[int], more: int, running: Iterable[tuple[int, int]]) -> bool:  # noqa: ARG002
        """See `Prefixes.fits`."""
        return True

    def leave(self, slot: int) -> bool:  # noqa: ARG002
        """See `Prefixes.leave`."""
        return True


@dataclass(slots=True)
class Slot:
    """One slot, and the tokens of the sequence that it belongs to or was left by."""

    tokens: list[int] = field(default_factory=list)
    """The sequence's own list: it grows."""
    length: int = 0
    """How many of them the model holds."""
    uploaded: int = 0
    """How many of them the device has been told, for rounds that it leads."""


class SlotState:
    """The slots of one model. Used by its worker only."""

    def __init__(self, slots: int, prefixes: Prefixes) -> None:
        self.slots = [Slot() for _ in range(slots)]
        self.prefixes = prefixes

    def nearest(self, free: Sequence[int], tokens: list[int]) -> int:
        """Which of the `free` slots shares most with a new sequence; of several the one that holds least."""
        shared = {slot: self.shared(slot, tokens) for slot in free if self.slots[slot].length}
        ranked = [(-shared.get(slot, 0), self.slots[slot].length, slot) for slot in free]
        return min(ranked)[2]

    def shared(self, slot: int, tokens: list[int]) -> int:
        """How many leading `tokens` the slot holds."""
        held = self.slots[slot]
        if held.tokens is tokens or not held.length:
            return held.length
        return min(shared_prefix(held.tokens, tokens), held.length)

    def begin(self, slot: int, tokens: list[int], *, restore: bool = True) -> int:
        """Give the slot to the sequence `tokens`, if it is not its own already; returns how many of them it holds: what
        it shares with the last one, or more if a known prefix says so and is to be restored, but never the last token,
        whose logits are wanted."""
        held = self.slots[slot]
        if held.tokens is tokens:
            return held.length
        most = min(self.shared(slot, tokens), len(tokens) - 1)
        reached = self.prefixes.reachable(slot, most) if most else 0
        # until it is restored the slot is nobody's: an error may come between
        self.slots[slot] = Slot(tokens)
        lacking = reached < len(tokens) - 1
        length = self.prefixes.restore(slot, tokens[:-1], reached) if restore and lacking else reached
        self.slots[slot].length = length
        return length

    def commit(self, slot: int, length: int) -> None:
        """The slot holds the first `length` tokens of its sequence, and what lies beyond is taken back."""
        self.slots[slot].length = length

    def wipe(self, slot: int) -> None:
        """Forget all that the slot holds, and what it is made of: it may be NaN, which no mask hides."""
        self.slots[slot].length = 0
        self.prefixes.wipe(slot)

    def leave(self, slot: int) -> None:
        """The slot's sequence has left. What it held is kept, in the slot or among the prefixes."""
        self.save(slot)
        if not self.prefixes.leave(slot):
            self.slots[slot] = Slot()

    def save(self, slot: int, most: int | None = None) -> None:
        """What the slot holds, or the first `most` tokens of it, can be found from now on by sequences in other slots,
        unless memory is short."""
        held = self.slots[slot]
        length = held.length if most is None else min(most, held.length)
        if length:
            with suppress(torch.OutOfMemoryError):  # no answer depends on it
                self.prefixes.save(slot, held.tokens[:length])


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    least = min(len(a), len(b))
    if a[:least] == b[:least]:
        return least
    return next(i for i in range(least) if a[i] != b[i])
