"""Drafts from the caller's guess of the answer, as in editing a text of which most stays.

The guess is read along with the output. Where the output leaves it, reading resumes after the longest suffix of
the output that is in the guess, and rather further on than back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

from specdec.drafters.base import DraftContext, DraftRound, Drafts, FreeDrafter
from specdec.drafters.proposals import bucket, certain, nothing
from specdec.drafters.suffix import SuffixAutomaton

_NEAR = 16
"""How far ahead a single equal token is believed to be the place where the guess goes on."""
_SCAN = 256
"""How many occurrences are looked at in each direction."""

Standing = Literal["start", "aligned", "guess", "lost"]


class Alignment:
    """Where in the prediction the output stands.

    `standing`: at its "start"; "aligned" after `run` equal tokens; at a "guess" (one token was exchanged for one
    other); or "lost", until a place is found again.
    """

    def __init__(self, prediction: Sequence[int]) -> None:
        self._prediction = tuple(prediction)
        self._index = SuffixAutomaton()
        self._index.extend(self._prediction)
        self._places: dict[int, list[int]] = {}
        for i, token in enumerate(self._prediction):
            self._places.setdefault(token, []).append(i)
        self._state, self._length = 0, 0
        self._output: list[int] = []
        self._left = 0
        """The place after the last that fitted, from which the search goes on."""
        self.next = 0
        """The place that comes next, if not lost."""
        self.run = 0
        self.standing: Standing = "start"

    @property
    def size(self) -> int:
        """Tokens of the output read."""
        return len(self._output)

    def push(self, token: int) -> None:
        """Read one token of the output."""
        self._output.append(token)
        self._state, self._length = self._index.follow(self._state, self._length, token)
        if self.ahead(1) == (token,):
            self._align(self.next, self.run + 1)
        elif (place := self._find(token)) is not None:
            self._align(place, self._length)
        elif self.standing in ("start", "aligned"):
            self.next, self.run, self.standing = self.next + 1, 0, "guess"
        else:
            self.run, self.standing = 0, "lost"

    def _align(self, place: int, run: int) -> None:
        self.next = self._left = place + 1
        self.run, self.standing = run, "aligned"

    def ahead(self, k: int) -> tuple[int, ...]:
        """The next k tokens of the prediction, fewer at its end, none while lost."""
        return () if self.standing == "lost" else self._prediction[self.next : self.next + k]

    def _find(self, token: int) -> int | None:
        """Where the longest suffix of the output ends in the prediction: next ahead, else last behind."""
        length = self._length
        if length == 0:
            return None
        places = self._places[token]
        first = bisect_left(places, self._left)
        if length == 1:
            near = first < len(places) and places[first] < self._left + _NEAR
            return places[first] if near else None
        suffix = tuple(self._output[-length:])
        ahead = places[first : first + _SCAN]
        behind = places[max(0, first - _SCAN) : first]
        for place in (*ahead, *reversed(behind)):
            if self._prediction[place + 1 - length : place + 1] == suffix:
                return place
        return self._index.end_of(self._state)


class PredictionDrafter(FreeDrafter):
    """Proposes what follows in `DraftContext.prediction`; nothing where there is none."""

    name = "prediction"

    def __init__(self) -> None:
        self._alignments: dict[int, Alignment] = {}
        """By a sequence's id."""

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context."""
        if not any(context.prediction for context in round.contexts):
            return nothing("prediction/none", len(round.contexts), k)
        rows: list[tuple[int, ...]] = []
        sources: list[str] = []
        for context in round.contexts:
            row: tuple[int, ...] = ()
            source = "none"
            if context.prediction:
                alignment = self._alignments.get(context.sequence_id)
                if alignment is None:
                    alignment = self._alignments[context.sequence_id] = Alignment(context.prediction)
                for token in context.tokens[context.prompt_length + alignment.size :]:
                    alignment.push(token)
                if row := alignment.ahead(k):
                    source = bucket(alignment.run) if alignment.standing == "aligned" else alignment.standing
            rows.append(row)
            sources.append(f"prediction/{source}")
        return certain(rows, sources, k)

    def release(self, context: DraftContext) -> None:
        """Forget the sequence."""
        self._alignments.pop(context.sequence_id, None)
