"""Drafts from recent answers, of this sequence and of others: what most often followed where the text was the same.

Repeated work (the same calls, versions of one file) is written again from memory. Like suffix decoding (Oliaro et
al. 2024) it goes by frequency: all places after the longest known suffix vote for each next token.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence

from specdec.drafters.base import DraftContext, DraftRound, Drafts, FreeDrafter
from specdec.drafters.proposals import bucket, certain

_LENGTHS = (16, 8, 4, 3)
"""Suffixes looked for, longest first; the shortest is what is indexed."""
_ANCHOR = _LENGTHS[-1]
_PLACES = 32
"""The latest places of one anchor that are looked at."""
_MAJORITY = 0.5
"""A token is proposed if at least so many of the places agree on it."""

_NOTHING: tuple[list[int], str] = ([], "none")
Place = tuple[int, int]
"""A remembered text's number, and where in it something ends."""


class MemoryDrafter(FreeDrafter):
    """Remembers up to `limit` tokens of answers; the one that was not written for longest is forgotten first."""

    name = "memory"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._texts: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._numbers: dict[tuple[int, ...], int] = {}
        self._places: dict[tuple[int, ...], list[Place]] = {}
        self._next = 0
        self.size = 0
        """Tokens remembered."""

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context; none where nothing matches."""
        found = [self._row(context.tokens, k) if context.remember else _NOTHING for context in round.contexts]
        return certain([row for row, _ in found], [f"memory/{source}" for _, source in found], k)

    def release(self, context: DraftContext) -> None:
        """Remember what was written."""
        text = tuple(context.tokens[context.prompt_length :])[: self._limit]
        if len(text) <= _ANCHOR or not context.remember:
            return
        if (number := self._numbers.get(text)) is not None:
            self._texts.move_to_end(number)
            return
        while self.size + len(text) > self._limit:
            number, oldest = self._texts.popitem(last=False)
            del self._numbers[oldest]
            self.size -= len(oldest)
            for anchor, place in _anchors(number, oldest):
                self._places[anchor].remove(place)
                if not self._places[anchor]:
                    del self._places[anchor]
        self._texts[self._next], self._numbers[text] = text, self._next
        for anchor, place in _anchors(self._next, text):
            self._places.setdefault(anchor, []).append(place)
        self._next += 1
        self.size += len(text)

    def _row(self, tokens: Sequence[int], k: int) -> tuple[list[int], str]:
        """The proposal, and how good the match is."""
        places = self._places.get(tuple(tokens[-_ANCHOR:]), [])[-_PLACES:]
        if not places:
            return _NOTHING
        for length in (n for n in _LENGTHS if n <= len(tokens)):
            suffix = tuple(tokens[-length:])
            same = [(n, end) for n, end in places if self._texts[n][max(0, end - length) : end] == suffix]
            if same and (row := self._vote(same, k)):
                return row, f"{bucket(length)}/{'once' if len(same) == 1 else 'often'}"
        return _NOTHING

    def _vote(self, places: list[Place], k: int) -> list[int]:
        """Token by token what most of the places go on with; those that go on otherwise have no further say."""
        row: list[int] = []
        while len(row) < k:
            ahead = [(n, at) for n, at in places if at < len(self._texts[n])]
            # the latest first, so that it wins where as many say something else
            votes = Counter(self._texts[n][at] for n, at in reversed(ahead))
            if not votes:
                break
            token, count = votes.most_common(1)[0]
            if count < _MAJORITY * len(places):
                break
            row.append(token)
            places = [(n, at + 1) for n, at in ahead if self._texts[n][at] == token]
        return row


def _anchors(number: int, text: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Place]]:
    """Every run of `_ANCHOR` tokens that something follows, and where it ends."""
    for end in range(_ANCHOR, len(text)):
        yield text[end - _ANCHOR : end], (number, end)
