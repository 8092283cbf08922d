"""Gathers a round's drafts: asks the free drafters first, and the others only once they are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from specdec.decoding.rounds.catchup import CatchUp
from specdec.decoding.sequence import Running
from specdec.decoding.speculation.controller import Choice, Option
from specdec.drafters.base import Drafter, DraftRound, Drafts
from specdec.drafters.proposals import nothing
from specdec.models.base import ModelInfo
from specdec.sampling.batch import SamplingBatch
from specdec.types import MAX_SPECULATIVE_TOKENS, AcceptRule, Speculation

_UNREAD = Speculation(
    why="does not pay", detail="the draft model has not read the prompt: that takes more than it saves"
)
_NO_MEMORY = Speculation(why="nothing to draft from", detail="no memory is left for the draft model")
_TOO_LONG = Speculation(why="nothing to draft from", detail="the draft model cannot hold as many tokens")
Offers = dict[str, Drafts]
"""Proposals for all rows of a round, by the name of the drafter."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a round shall verify, all rows side by side."""

    tokens: Tensor
    """[B, K] int64 on the target's device; row b is valid below lengths[b]."""
    lengths: tuple[int, ...]
    probs: Tensor | None = None
    """q [B, K, V] fp32, or None where every draft is certain."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Row `row` of the round takes `length` tokens from row `at` of `drafts`."""

    row: int
    drafts: Drafts
    at: int
    length: int


class Drafting:
    """All drafters of an engine."""

    def __init__(self, drafters: Sequence[Drafter], target: ModelInfo, rule: AcceptRule, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        self._drafters = {d.name: d for d in drafters}
        self._costly = [(d, Option(d.name, d.name, d.longest, False)) for d in drafters if not d.free]
        self._free = [d for d in drafters if d.free]
        self.observers = [d for d in drafters if not d.free]
        """Who hears what the target has seen."""
        self._device, self._vocab_size = target.device, target.vocab_size
        self._need_probs = rule == "rejection"
        self.features = next((d.features for d in drafters if d.features), ())
        """The target's layers that are read; one drafter of an engine does so, at most."""

    def offers(self, rows: Sequence[Running], sampling: SamplingBatch) -> Offers:
        """What the drafters that cost nothing propose."""
        if all(row.max_drafts == 0 for row in rows):
            return {}
        asked = DraftRound([r.context for r in rows], sampling, None, need_probs=False)
        offers = {d.name: d.propose(asked, MAX_SPECULATIVE_TOKENS) for d in self._free}
        if sampling.constrained:  # what the rows' grammars forbid would be rejected anyway
            for name, drafts in offers.items():
                lengths, tokens = list(drafts.lengths), drafts.tokens.tolist()
                for b in sampling.constrained:
                    if lengths[b] and (grammar := sampling.states[b].grammar) is not None:
                        lengths[b] = grammar.allowed(tokens[b][: lengths[b]])
                offers[name] = replace(drafts, lengths=tuple(lengths))
        return offers

    def options(self, b: int, row: Running, offers: Offers) -> list[Option]:
        """What `row`, the b-th, can choose from."""
        free = [
            Option(name, drafts.sources[b], drafts.lengths[b], True)
            for name, drafts in offers.items()
            if drafts.lengths[b]
        ]
        return free + [option for drafter, option in self._costly if self._catch_up.near(drafter, row)]

    def unread(self, row: Running) -> Speculation | None:
        """Why there are no drafts where a drafter has not read what it needs to draft for this sequence."""
        far = [drafter for drafter, _ in self._costly if not self._catch_up.near(drafter, row)]
        if not far:
            return None
        if row in self._catch_up.refused:
            return _NO_MEMORY
        return _TOO_LONG if all(drafter.behind(row.context) is None for drafter in far) else _UNREAD

    def collect(
        self,
        rows: Sequence[Running],
        sampling: SamplingBatch,
        choices: Sequence[Choice],
        offers: Offers,
        noise: Callable[[], Tensor | None],
    ) -> Drafted:
        """The chosen drafts. `noise` draws [B, K, V] for those drafters that draw."""
        parts: list[_Part] = []
        for name in dict.fromkeys(c.option.drafter for c in choices if c.option):
            members = [b for b, c in enumerate(choices) if c.option and c.option.drafter == name]
            if name in offers:
                drafts, places = offers[name], members
            else:
                drafts, places = self._ask(name, rows, sampling, members, choices, noise), list(range(len(members)))
            for at, b in zip(places, members, strict=True):
                parts.append(_Part(b, drafts, at, min(choices[b].length, drafts.lengths[at])))
        width = max((p.length for p in parts), default=0)
        tokens = torch.zeros(len(rows), width, dtype=torch.long, device=self._device)
        lengths = [0] * len(rows)
        for p in parts:
            tokens[p.row, : p.length] = p.drafts.tokens[p.at, : p.length].to(self._device)
            lengths[p.row] = p.length
        drawn = [(p, p.drafts.probs) for p in parts if p.drafts.probs is not None]
        if not drawn:
            return Drafted(tokens, tuple(lengths))
        # certain drafts have all their mass on themselves
        q = torch.zeros(*tokens.shape, self._vocab_size, device=self._device).scatter_(-1, tokens.unsqueeze(-1), 1.0)
        for p, probs in drawn:
            q[p.row, : p.length] = probs[p.at, : p.length]
        return Drafted(tokens, tuple(lengths), q)

    def _ask(
        self,
        name: str,
        rows: Sequence[Running],
        sampling: SamplingBatch,
        members: list[int],
        choices: Sequence[Choice],
        noise: Callable[[], Tensor | None],
    ) -> Drafts:
        """The drafts of one that costs something, for the rows that chose it."""
        whole = len(members) == len(rows)
        sampling = sampling if whole else sampling.select(members)
        drawn = None if sampling.greedy else noise()
        drawn = drawn if whole or drawn is None else drawn[members]
        contexts = [rows[b].context for b in members]
        shortened = tuple(rows[b].max_drafts is None for b in members)
        asked = DraftRound(contexts, sampling, drawn, self._need_probs, shortened)
        try:
            return self._drafters[name].propose(asked, max(choices[b].length for b in members))
        except torch.OutOfMemoryError:
            self._catch_up.refused.update(rows[b] for b in members)
            return nothing(name, len(members), 0)
