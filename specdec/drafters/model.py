"""Drafts from a smaller model of the same tokens (Leviathan et al. 2023; Chen et al. 2023).

The draft model runs over slots of its own, numbered as the target's. What a slot's cache holds is remembered as
tokens, so a rejected draft, a round drafted by another drafter and a new sequence with a known prefix are all one
case: keep the longest common prefix, run what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from specdec.drafters.base import DraftContext, DraftRound, Drafts
from specdec.errors import UnsupportedModel
from specdec.models.base import Runner
from specdec.models.prefixes import PrefixCache, shared_prefix
from specdec.types import MAX_SPECULATIVE_TOKENS

_CHUNK = 512
"""Tokens of one sequence run at once while catching up."""
_CATCH_UP = 4096
"""Tokens caught up in one round, over all sequences: who lacks more drafts nothing yet, and stalls nobody."""
_JOINT = MAX_SPECULATIVE_TOKENS + 1
"""A lag up to this is caught up by all sequences together: it is what other drafters can leave in one round."""

_PAIR = 2
"""A round on the device gives the draft model the last two tokens: all that a fully accepted round leaves unseen."""


class _Tail:
    """Tokens of one round, [B, k] on the device, read by the host only when the next round asks."""

    def __init__(self, tokens: Tensor) -> None:
        self._tokens = tokens
        self._rows: list[list[int]] | None = None

    def row(self, index: int) -> list[int]:
        if self._rows is None:
            self._rows = self._tokens.tolist()
        return self._rows[index]


@dataclass(slots=True)
class _Slot:
    """What a slot's cache holds: `held`, then the first `drafted` tokens of row `row` of `tail`."""

    sequence_id: int | None = None
    held: list[int] = field(default_factory=list)
    tail: _Tail | None = None
    row: int = 0
    drafted: int = 0
    flown: DraftContext | None = None
    """Whose rounds ran on the device alone: the cache holds all of its tokens but the last two."""

    def land(self) -> None:
        """Take down what the cache holds after rounds on the device."""
        if self.flown is not None:
            self.held, self.sequence_id = self.flown.tokens[:-_PAIR], self.flown.sequence_id
            self.flown, self.tail, self.drafted = None, None, 0

    def adopt(self, context: DraftContext) -> None:
        """Cut `held` down to what the context's tokens share with the cache, less their last."""
        self.land()
        tokens, tail = context.tokens, self.read_tail()
        if self.sequence_id == context.sequence_id:
            # `held` was checked when it was drafted on, and tokens only grow.
            known = len(self.held)
            self.held += tail[: shared_prefix(tail, tokens[known : known + len(tail)])]
        else:
            self.held += tail
            del self.held[shared_prefix(self.held, tokens) :]
            self.sequence_id = context.sequence_id
        del self.held[len(tokens) - 1 :]

    def read_tail(self) -> list[int]:
        """What was drafted and run since `held`, which the caller takes over."""
        tail = [] if self.tail is None else self.tail.row(self.row)[: self.drafted]
        self.tail, self.drafted = None, 0
        return tail


@dataclass(frozen=True, slots=True)
class _Plan:
    """One joint pass: tokens [B, M] at `starts`, after which the ready rows are up to date."""

    tokens: list[list[int]]
    slots: list[int]
    starts: list[int]
    ready: list[bool]

    @property
    def width(self) -> int:
        return len(self.tokens[0])


class DraftModelDrafter:
    """Proposes by running the draft model k times. `vocab_size` is the width of the target's logits."""

    name = "model"
    free = False

    def __init__(
        self, runner: Runner, vocab_size: int, device: torch.device, prefixes: PrefixCache | None = None
    ) -> None:
        if not runner.info.can_rollback:
            raise UnsupportedModel(
                f"draft model {runner.info.name} is {runner.info.architecture}, whose state cannot be rolled back; "
                "expected a model with attention only"
            )
        self.runner = runner
        self._vocab_size = vocab_size
        self._device = device
        self._prefixes = prefixes or PrefixCache(runner, 0)
        self._slots: dict[int, _Slot] = {}

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """k tokens for each context, on the target's device; none for one beyond the draft model's context, or
        still too far behind."""
        plan = self._plan(round.contexts) if k > 0 else None
        sources = (self.name,) * len(round.contexts)
        if plan is None:
            empty = torch.zeros(len(round.contexts), k, dtype=torch.int64)
            return Drafts(empty, (0,) * len(round.contexts), sources=sources)
        tokens, probs = self._draft(round, plan, k)
        self._remember(round.contexts, plan, tokens, k)
        return Drafts(tokens, tuple(k if ready else 0 for ready in plan.ready), probs, sources)

    def release(self, context: DraftContext) -> None:
        """What the slot holds is kept, there and in the prefix cache: another sequence may begin with the same
        tokens."""
        slot = self._slots.get(context.slot)
        if slot is not None and slot.sequence_id == context.sequence_id:
            slot.land()
            slot.held += slot.read_tail()
            self._prefixes.save(context.slot, slot.held[: shared_prefix(slot.held, context.tokens)])

    # ---- rounds that run on the device alone

    def take_off(self, contexts: Sequence[DraftContext]) -> bool:
        """Bring the slots to within two tokens of their sequences, for rounds that the host does not follow; False
        where that takes more than one round's work, or the sequence is beyond the draft model's context."""
        budget = _CATCH_UP
        for context in contexts:
            slot = self._adopt(context)
            if len(context.tokens) > self.runner.info.context:
                return False
            budget -= self._catch_up(context, slot, _PAIR, budget)
            if len(context.tokens) - len(slot.held) > _PAIR:
                return False
        for context in contexts:
            self._slots[context.slot].flown = context
        return True

    def land(self, contexts: Sequence[DraftContext]) -> None:
        """Such rounds are over, as far as drafting goes: what follows is not seen by the draft model."""
        for context in contexts:
            if (slot := self._slots.get(context.slot)) is not None:
                slot.land()

    # ---- catching up

    def _plan(self, contexts: Sequence[DraftContext]) -> _Plan | None:
        """Bring the slots to within one short pass of their sequences; None when no sequence is that near."""
        room = self.runner.info.context
        slots = [self._adopt(context) for context in contexts]
        fitting = [len(c.tokens) for c in contexts if len(c.tokens) <= room]
        if not fitting:
            return None
        longest = min(_JOINT, *fitting)
        budget, lags = _CATCH_UP, []
        for context, slot in zip(contexts, slots, strict=True):
            if len(context.tokens) <= room:
                budget -= self._catch_up(context, slot, longest, budget)
            lag = len(context.tokens) - len(slot.held)
            lags.append(lag if lag <= longest and len(context.tokens) <= room else 0)
        return self._join(contexts, slots, lags) if any(lags) else None

    def _adopt(self, context: DraftContext) -> _Slot:
        slot = self._slots.setdefault(context.slot, _Slot())
        known = slot.sequence_id == context.sequence_id
        slot.adopt(context)
        if not known:
            reached = self._prefixes.restore(context.slot, context.tokens[:-1], len(slot.held))
            slot.held += context.tokens[len(slot.held) : reached]
        return slot

    def _catch_up(self, context: DraftContext, slot: _Slot, longest: int, budget: int) -> int:
        """Run what the slot lacks, all but the last token, if it is more than `longest`; returns how much."""
        start = len(slot.held)
        if len(context.tokens) - start <= longest:
            return 0
        end = min(len(context.tokens) - 1, start + budget)
        for at in range(start, end, _CHUNK):
            chunk = context.tokens[at : min(at + _CHUNK, end)]
            self.runner.forward(self._to_runner([chunk]), [context.slot], [at], keep=0)
            slot.held += chunk
        self._prefixes.save(context.slot, slot.held)
        return end - start

    def _join(self, contexts: Sequence[DraftContext], slots: Sequence[_Slot], lags: Sequence[int]) -> _Plan:
        """All rows as wide as the longest lag. A row that lacks less runs some of its tokens again, which writes
        what is there already; a row that is not ready (lag 0) runs junk beyond what it holds."""
        width = max(lags)
        tokens, starts = [], []
        for context, slot, lag in zip(contexts, slots, lags, strict=True):
            if lag:
                starts.append(len(context.tokens) - width)
                tokens.append(context.tokens[-width:])
            else:
                del slot.held[self.runner.info.context - width :]
                starts.append(len(slot.held))
                tokens.append([0] * width)
        return _Plan(tokens, [c.slot for c in contexts], starts, [lag > 0 for lag in lags])

    def _remember(self, contexts: Sequence[DraftContext], plan: _Plan, tokens: Tensor, k: int) -> None:
        tail = _Tail(tokens)
        for row, context in enumerate(contexts):
            slot = self._slots[context.slot]
            if plan.ready[row]:
                slot.held += context.tokens[len(slot.held) :]
                # The last draft was never run.
                slot.tail, slot.row, slot.drafted = tail, row, k - 1

    # ---- drafting

    def _draft(self, round: DraftRound, plan: _Plan, k: int) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, k] and, if asked for, q [B, k, V]. Nothing here waits for the device, but for rows with a
        grammar: their next mask follows from the drafts so far."""
        batch = len(plan.slots)
        drafted = torch.zeros(batch, k, dtype=torch.int64, device=self._device)
        probs = torch.empty(batch, k, self._vocab_size, device=self._device) if round.need_probs else None
        greedy = round.sampling.greedy_rows if round.need_probs else None
        seen = drafted[:, :0]
        logits = self.runner.forward(self._to_runner(plan.tokens), plan.slots, plan.starts, keep=1)
        for j in range(k):
            scores = round.sampling.process(self.fit(logits), seen, first=j)[:, 0]  # [B, V]
            token = (scores if round.noise is None else scores + round.noise[:, j]).argmax(-1)  # [B]
            drafted[:, j] = token
            if probs is not None:
                probs[:, j] = _distribution(scores, token, greedy)
            if j + 1 < k:
                seen = round.sampling.on_host(drafted[:, : j + 1])
                starts = [start + plan.width + j for start in plan.starts]
                logits = self.runner.forward(self._to_runner(token.view(-1, 1)), plan.slots, starts, keep=1)
        return drafted, probs

    def _to_runner(self, tokens: Tensor | list[list[int]]) -> Tensor:
        """On the runner's device; ids that the draft model does not know (added to the target only) become its
        last one, which costs acceptance and nothing else."""
        info = self.runner.info
        if isinstance(tokens, list):
            tokens = torch.tensor(tokens, dtype=torch.int64)
        return tokens.to(info.device).clamp(max=info.vocab_size - 1)

    def fit(self, logits: Tensor) -> Tensor:
        """Logits as wide as the target's: unknown ids are impossible, and so is what is not a number."""
        logits = logits[..., : self._vocab_size].to(self._device)
        missing = self._vocab_size - logits.shape[-1]
        if missing:
            logits = torch.nn.functional.pad(logits, (0, missing), value=float("-inf"))
        return torch.nan_to_num(logits, nan=float("-inf"), neginf=float("-inf"))


def _distribution(scores: Tensor, token: Tensor, greedy: Tensor | None) -> Tensor:
    """q [B, V] that `token` [B] was drawn from: one-hot where it was certain, by greed or because every id that the
    draft model knows is masked."""
    one_hot = torch.zeros_like(scores).scatter_(1, token.view(-1, 1), 1.0)
    sure = scores.amax(-1) == float("-inf")
    if greedy is not None:
        sure = sure | greedy
    return torch.where(sure.view(-1, 1), one_hot, scores.softmax(-1))
