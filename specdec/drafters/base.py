"""The contract of everything that proposes tokens.

A drafter is handed the sequences of a round and proposes up to k tokens for each. It never sees what the target will
say before it proposes, and whatever it proposes, the output stays the target's: a drafter can be wrong, not harmful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from specdec.models.state import SlotState
from specdec.sampling.batch import SamplingBatch
from specdec.types import MAX_SPECULATIVE_TOKENS


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
    """Whether recent answers may be drafted from, and this one is remembered among them."""


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
    shortened: tuple[bool, ...] = ()
    """Per row, whether the drafter may leave out drafts that it thinks unlikely; empty: in none."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Proposals for the B sequences of a round."""

    tokens: Tensor
    """[B, k] int64 on the CPU or the target's device; row b is valid below lengths[b]."""
    lengths: tuple[int, ...]
    sources: tuple[str, ...]
    """Per row, a key under which acceptance is remembered, e.g. "lookup/4": same key, like quality."""
    probs: Tensor | None = None
    """q [B, k, V] fp32, the very distribution each token was drawn from; None: certain (one-hot) proposals."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Tokens that the target has seen: a chunk of a prompt, a known prefix, or what a round accepted."""

    context: DraftContext
    start: int
    """The position of the first one; below it the target has seen everything."""
    count: int
    features: Tensor | None = None
    """[count, n * H], what the target made of them (see `Drafter.features`); None of a known prefix, and of a round on
    the device, whose features went to `DeviceDrafter.observe`."""
    drafter: str | None = None
    """Who drafted them."""
    on_device: bool = False
    """Whether the device led the round."""


class Drafter(Protocol):
    """Proposes tokens. Called from the engine's worker only."""

    @property
    def name(self) -> str: ...

    @property
    def free(self) -> bool:
        """True when proposing costs next to nothing, so that it may be asked before it is chosen. What others cost is
        measured."""
        ...

    @property
    def features(self) -> tuple[int, ...]:
        """The target's layers whose outputs it reads (see `models.base.Batch.features`)."""
        ...

    @property
    def longest(self) -> int:
        """Tokens that it proposes in a round, at most."""
        ...

    @property
    def device(self) -> DeviceDrafter | None:
        """What it does inside a captured round; None where the host leads its rounds. Always None of a free one, whose
        drafts the host hands to the device."""
        ...

    def observe(self, seen: Seen) -> None:
        """Hear what the target has seen. Free drafters are not told: they read `tokens`."""
        ...

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context, to follow its `tokens`."""
        ...

    def behind(self, context: DraftContext) -> int | None:
        """How many tokens of the sequence it has to read before it can draft; None where it never can."""
        ...

    def read(self, context: DraftContext, most: int) -> int:
        """Read up to so many of them; returns how many."""
        ...

    def release(self, context: DraftContext) -> None:
        """The sequence has left its slot; forget what is only its own (what speeds up a successor may stay)."""
        ...

    def warm_up(self) -> None:
        """Whatever would otherwise make its first drafts slow."""
        ...

    def prepare(self) -> bool:
        """See `models.base.Model.prepare`: the same for its own passes."""
        ...


class LoadedDrafter(Drafter, Protocol):
    """A drafter with weights, over slots numbered as the target's."""

    @property
    def state(self) -> SlotState: ...

    @property
    def source(self) -> str:
        """What it was loaded from."""
        ...

    @property
    def parameters(self) -> int: ...

    @property
    def weight_bytes(self) -> int: ...

    @property
    def cache_bytes(self) -> int:
        """What its slots take."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceRound:
    """A round inside a graph: all of it lies on the device."""

    pair: Tensor
    """The last two tokens of each row, [B, 2]."""
    verify: Tensor
    """[B, k + 1]: the last token, and room for the drafts behind it."""
    slots: Tensor
    """[B] int32"""
    starts: Tensor
    """[B] int32, the position of the last token."""
    tokens: Tensor
    """[S, capacity] int64: what every slot holds."""
    choose: Callable[[Tensor, int], Tensor]
    """Tokens [B, M] from raw logits [B, M, V] as the target would choose them, of the n-th choice of the round on."""


class DeviceDrafter(Protocol):
    """A drafter's part in rounds that the device leads."""

    @property
    def capacity(self) -> int:
        """Positions up to which it can draft."""
        ...

    @property
    def graph_bytes(self) -> int:
        """Device memory that its own graphs take."""
        ...

    def ready(self, contexts: Sequence[DraftContext]) -> bool:
        """Bring it to where these sequences stand, before rounds that the host does not follow; False where that takes
        more than one round's work, or a sequence is too long."""
        ...

    def reserve(self, contexts: Sequence[DraftContext], added: int) -> bool:
        """Make sure of memory for so many more tokens of these sequences; False where there is none."""
        ...

    def propose(self, round: DeviceRound) -> None:
        """Inside the graph: fill round.verify[:, 1:]."""
        ...

    def observe(self, round: DeviceRound, features: Tensor, accepted: Tensor) -> None:
        """Inside the graph, for a drafter that reads features: what the target made of round.verify, [B, k + 1, n * H],
        and how many drafts were accepted, [B] int64. Called in every round, whoever drafted."""
        ...


class UpToDate:
    """The defaults of drafters that have always read what the target has seen, and have no graphs of their own."""

    def behind(self, context: DraftContext) -> int | None:  # noqa: ARG002
        """See `Drafter.behind`: it has read all."""
        return 0

    def read(self, context: DraftContext, most: int) -> int:  # noqa: ARG002
        """See `Drafter.read`: there is nothing to read."""
        return 0

    def warm_up(self) -> None:
        """See `Drafter.warm_up`: there is nothing."""

    def prepare(self) -> bool:
        """See `Drafter.prepare`: there is nothing."""
        return False


class FreeDrafter(UpToDate):
    """The defaults of drafters that read nothing but the text."""

    free = True
    features: tuple[int, ...] = ()
    longest = MAX_SPECULATIVE_TOKENS
    device: DeviceDrafter | None = None

    def observe(self, seen: Seen) -> None:
        """See `Drafter.observe`: it is not told."""

    def release(self, context: DraftContext) -> None:
        """See `Drafter.release`: nothing is kept."""
