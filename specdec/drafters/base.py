"""The contract of everything that proposes tokens.

A drafter is handed the sequences of a round and proposes up to k tokens for each. It never sees what the target will
say before it proposes, and whatever it proposes, the output stays the target's: a drafter can be wrong, not harmful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from specdec.sampling.batch import SamplingBatch


@dataclass(slots=True, eq=False)
class DraftContext:
    """What a drafter may see of one sequence. `tokens` only ever grows; the engine owns it."""

    sequence_id: int
    """Unique over the engine's life: a slot with another id holds another sequence."""
    slot: int
    tokens: list[int]
    """Prompt and committed output."""
    prompt_length: int
    prediction: tuple[int, ...] = ()
    """The caller's guess of the output, as tokens."""
    remember: bool = True
    """Whether it may be drafted from recent answers, and become one."""


@dataclass(frozen=True, slots=True)
class DraftRound:
    """The sequences that one drafter shall propose for, in one round."""

    contexts: Sequence[DraftContext]
    sampling: SamplingBatch
    """Sampling state of the same sequences in the same order."""
    noise: Tensor | None
    """Gumbel noise [B, k, V] to draw with, row j for the j-th drafted position; None when all are greedy."""
    need_probs: bool
    """True when the accept rule needs q."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Proposals for the B sequences of a round."""

    tokens: Tensor
    """[B, k] int64 on the CPU or the target's device; row b is valid below lengths[b]."""
    lengths: tuple[int, ...]
    probs: Tensor | None = None
    """q [B, k, V] fp32, the very distribution each token was drawn from; None: certain (one-hot) proposals."""
    sources: tuple[str, ...] = field(default=())
    """Per row, a key under which acceptance is remembered, e.g. "lookup/4": same key, like quality."""


class Drafter(Protocol):
    """Proposes tokens. Called from the engine's worker only."""

    @property
    def name(self) -> str: ...

    @property
    def free(self) -> bool:
        """True when proposing costs next to nothing, so that it may be asked before it is chosen."""
        ...

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context, to follow its `tokens`."""
        ...

    def release(self, context: DraftContext) -> None:
        """The sequence has left its slot; forget what is only its own (what speeds up a successor may stay)."""
        ...
