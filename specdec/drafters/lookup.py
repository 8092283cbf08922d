"""Drafts from the sequence itself: what followed the longest suffix when it occurred before.

Prompt lookup (Saxena 2023) with the longest match instead of a fixed n, as in SAM decoding (Hu et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

from specdec.drafters.base import DraftContext, DraftRound, Drafts, FreeDrafter
from specdec.drafters.proposals import bucket, certain
from specdec.drafters.suffix import SuffixAutomaton

_MAX_CATCH_UP = 8192
"""Tokens indexed in one round (some 20 ms): a longer prompt becomes usable after a few rounds, and stalls nobody."""


class LookupDrafter(FreeDrafter):
    """Proposes the latest continuation of the longest suffix that occurred before, of at least `min_match` tokens.

    A continuation that runs into the end goes on into itself, so that a repetition is proposed at full length.
    """

    name = "lookup"

    def __init__(self, min_match: int = 2) -> None:
        self._min_match = min_match
        self._indexes: dict[int, tuple[int, SuffixAutomaton]] = {}
        """Per slot: the sequence's id and its index."""

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context; none where nothing matches."""
        rows: list[list[int]] = []
        sources: list[str] = []
        for context in round.contexts:
            index = self._catch_up(context)
            length = index.match_length if index.size == len(context.tokens) else 0
            if length < self._min_match:
                rows.append([])
                sources.append("lookup/none")
            else:
                rows.append(_continue(context.tokens, index.match_end + 1, k))
                sources.append(f"lookup/{bucket(length)}")
        return certain(rows, sources, k)

    def release(self, context: DraftContext) -> None:
        """Forget the sequence."""
        held = self._indexes.get(context.slot)
        if held is not None and held[0] == context.sequence_id:
            del self._indexes[context.slot]

    def _catch_up(self, context: DraftContext) -> SuffixAutomaton:
        held = self._indexes.get(context.slot)
        if held is None or held[0] != context.sequence_id:
            held = self._indexes[context.slot] = (context.sequence_id, SuffixAutomaton())
        index = held[1]
        for token in context.tokens[index.size : index.size + _MAX_CATCH_UP]:
            index.push(token)
        return index


def _continue(tokens: Sequence[int], start: int, k: int) -> list[int]:
    """The k tokens from `start` on; what lies beyond the end repeats what came before."""
    out = list(tokens[start : start + k])
    period = len(tokens) - start
    while len(out) < k:
        out.append(out[len(out) - period])
    return out
