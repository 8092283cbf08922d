"""Drafts from the grammar: where it leaves one way to go on, that way.

What the grammar forces is text. In the tokenizer's own tokens it is what a trained target writes; where no other tokens
write that text, acceptance is certain.
"""

from __future__ import annotations

from specdec.drafters.base import DraftRound, Drafts, FreeDrafter
from specdec.drafters.proposals import certain, nothing


class GrammarDrafter(FreeDrafter):
    """Proposes what the sequence's grammar forces; nothing where there is none, or where it leaves a choice."""

    name = "grammar"

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context."""
        if not round.sampling.constrained:
            return nothing("grammar/none", len(round.contexts), k)
        grammars = [state.grammar for state in round.sampling.states]
        rows = [grammar.forced(k) if grammar is not None else [] for grammar in grammars]
        return certain(rows, [f"grammar/{'forced' if row else 'none'}" for row in rows], k)
