"""Which tokens a grammar allows, at every drafted position of every constrained row.

The parser is llguidance's and lives on the host, so what was drafted must be known there: `SamplingBatch.on_host`
reads it before the pass whose logits are masked, and the masks are made while the device is busy with that pass. A
draft that the grammar forbids is never accepted, so the rows behind it mean nothing and are left unmasked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher

_WORD = 32


class Matcher:
    """Where one sequence stands in its grammar. Used by the engine's worker only.

    `fresh` gives a parser at the grammar's start, whose work is not limited by what was parsed before. `eos_ids` are
    allowed where the grammar may end, but for `ignore_eos`, where it ends only when it cannot go on. `vocab_size` is
    the parser's, the target's or more.
    """

    def __init__(
        self, fresh: Callable[[], LLMatcher], eos_ids: Sequence[int], vocab_size: int, *, ignore_eos: bool
    ) -> None:
        self._fresh, self._parser = fresh, fresh()
        self._taken: list[int] = []
        self._stuck: tuple[int, ...] | None = None
        self.words = -(-vocab_size // _WORD)
        self.banned: tuple[int, ...] = tuple(eos_ids) if ignore_eos else ()

    def commit(self, tokens: Sequence[int]) -> None:
        """These were generated. What the grammar does not take ends the answer, so it is not missed."""
        taken = self._parser.try_consume_tokens(list(tokens))
        self._taken += tokens[:taken]

    def progress(self, tokens: Sequence[int]) -> tuple[int, bool]:
        """How many of `tokens`, drawn from this grammar's masks, lie before one that it has no say in, because it could
        not go on there; and whether the last of these completes it, so that nothing may follow."""
        stuck = self._stuck
        wall = len(stuck) if stuck is not None and tuple(tokens[: len(stuck)]) == stuck else len(tokens)
        count, complete = 0, False
        while count < wall and not complete and self._parser.try_consume_tokens([tokens[count]]):
            count += 1
            complete = self._parser.is_stopped()
        self._back(count)
        return count, complete

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of these tokens the grammar allows in a row."""
        return self._parser.validate_tokens(list(tokens))

    def forced(self, most: int) -> list[int]:
        """How the tokenizer would write what must come next; the target may write the same text in other tokens."""
        return self._parser.compute_ff_tokens()[:most]

    # ---- masks, for `fill_masks` below

    def enter(self, drafted: Sequence[int]) -> bool:
        """Go on to after `drafted`, or stay and say that the grammar forbids it."""
        count = self._parser.try_consume_tokens(list(drafted))
        if count < len(drafted):
            self._back(count)
        return count == len(drafted)

    @property
    def parser(self) -> LLMatcher:
        """For the executor, which makes the masks of here and after each of some drafts, of many sequences at once."""
        return self._parser

    def leave(self, drafted: Sequence[int], first: int, masks: Tensor) -> None:
        """Back to what is committed; masks [M, W] that were not finished are made again, as far as it goes."""
        self._stuck = None
        if not self._parser.is_error():
            self._back(first)
            return
        # One by one, to learn where the parser cannot go on. After an error it would allow eos.
        self._revive()
        masks.fill_(-1)
        for i in range(len(masks)):
            if i > len(drafted) - first or not self.enter(drafted[: first + i]):
                return
            self._parser.unsafe_compute_mask_ptr(masks[i].data_ptr(), self.words * 4)
            if self._parser.is_error():
                masks[i].fill_(-1)
                self._stuck = tuple(drafted[: first + i])
                self._revive()
                return
            self._back(first + i)

    def _back(self, count: int) -> None:
        if count and not self._parser.rollback(count):
            self._revive()

    def _revive(self) -> None:
        """A parser that failed never recovers, be it for a draft that comes to nothing: a new one takes its place."""
        self._parser = self._fresh()
        self._parser.try_consume_tokens(self._taken)


@cache
def _executor() -> LLExecutor:
    from llguidance import LLExecutor

    return LLExecutor()


def fill_masks(
    matchers: Sequence[Matcher], drafted: Sequence[Sequence[int]], first: int, count: int, pinned: bool
) -> Tensor:
    """One bit a token, [R, count, W] int32: row i of matcher r is for after drafted[r][: first + i]."""
    words = matchers[0].words
    masks = torch.full((len(matchers), count, words), -1, dtype=torch.int32, pin_memory=pinned)
    ahead = [list(row[: first + count - 1]) for row in drafted]
    entered = [r for r, matcher in enumerate(matchers) if matcher.enter(ahead[r][:first])]
    if not entered:
        return masks
    at, size, room = masks.data_ptr(), words * 4, len(matchers) * count
    if count == 1:
        _executor().unsafe_compute_mask_ptr([(matchers[r].parser, r) for r in entered], at, size, room)
    else:
        jobs = [(matchers[r].parser, r * count, ahead[r][first:]) for r in entered]
        _executor().unsafe_compute_mask_ptr_with_draft_token(jobs, at, size, room)
    for r in entered:
        matchers[r].leave(ahead[r], first, masks[r])
    return masks


def ban(mask: Tensor, tokens: Sequence[int]) -> None:
    """Take `tokens` out of mask [W], unless nothing would be left."""
    left = mask.clone()
    words = left.numpy()
    for token in tokens:
        words[token // _WORD] &= ~(1 << token % _WORD) if token % _WORD < 31 else 0x7FFFFFFF
    if words.any():
        mask.copy_(left)


def unpack(masks: Tensor, vocab_size: int) -> Tensor:
    """Bits [..., W] int32 to bool [..., vocab_size], on the device they are on."""
    octets = masks.contiguous().view(torch.uint8).unsqueeze(-1)
    shifts = torch.arange(8, dtype=torch.uint8, device=masks.device)
    return ((octets >> shifts) & 1).flatten(-2)[..., :vocab_size].bool()
