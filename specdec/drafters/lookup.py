"""Drafts from the sequence itself: what followed the longest suffix when it occurred before.

Prompt lookup (Saxena 2023) with the longest match instead of a fixed n, as in SAM decoding (Hu et al. 2024).
"""

from __future__ import annotations

from specdec.drafters.base import DraftContext, DraftRound, Drafts, FreeDrafter
from specdec.drafters.proposals import bucket, certain
from specdec.drafters.suffix import SuffixAutomaton

_MAX_CATCH_UP = 8192
"""Tokens indexed in one round (some 20 ms): a longer prompt becomes usable after a few rounds, and stalls nobody."""
_LEAST_MATCH = 2
"""Tokens of a suffix that is believed."""


class LookupDrafter(FreeDrafter):
    """Proposes the latest continuation of the longest suffix that occurred before.

    A continuation that runs into the end goes on into itself, so that a repetition is proposed at full length.
    """

    name = "lookup"

    def __init__(self) -> None:
        self._indexes: dict[int, SuffixAutomaton] = {}
        """By a sequence's id."""

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context; none where nothing matches."""
        rows: list[list[int]] = []
        sources: list[str] = []
        for context in round.contexts:
            index, tokens = self._indexes.get(context.sequence_id), context.tokens
            if index is None:
                index = self._indexes[context.sequence_id] = SuffixAutomaton()
            index.extend(tokens[index.size : index.size + _MAX_CATCH_UP])
            if index.size < len(tokens) or index.match_length < _LEAST_MATCH:
                rows.append([])
                sources.append("lookup/none")
                continue
            start = index.match_end + 1
            row = tokens[start : start + k]
            while len(row) < k:  # beyond the end it goes on into itself
                row.append(row[len(row) + start - len(tokens)])
            rows.append(row)
            sources.append(f"lookup/{bucket(index.match_length)}")
        return certain(rows, sources, k)

    def release(self, context: DraftContext) -> None:
        """Forget the sequence."""
        self._indexes.pop(context.sequence_id, None)
