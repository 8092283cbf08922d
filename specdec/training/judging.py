"""How good a drafter is, on answers of the target that it does not learn from.

The answers are greedy, so what a round would accept follows from the text itself: a draft is accepted if the text goes
on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from specdec.decoding.rounds.kinds import RoundKind, lengths
from specdec.decoding.speculation.calibration import calibrate
from specdec.decoding.speculation.controller import Controller
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import Drafter
from specdec.models.base import Model
from specdec.training.answers import Answered
from specdec.training.features import TargetFeatures
from specdec.training.learning import Learner
from specdec.training.progress import TrainingScore


@dataclass(frozen=True, slots=True)
class PassTimes:
    """Seconds on this machine."""

    verify: CostCurve
    """By rows of the target's pass."""
    draft: CostCurve
    """By drafted tokens."""

    @classmethod
    def measured(cls, target: Model, drafter: Drafter) -> PassTimes:
        """By running both."""
        controller = Controller()
        if target.device is not None and drafter.device is not None:
            from specdec.decoding.rounds.device import DeviceRounds

            one = [RoundKind(target.device.sizes[0], k, drafter.name) for k in lengths(drafter.longest)]
            DeviceRounds(target, target.device, [drafter], controller).make([RoundKind(one[0].rows), *one])
        calibrate(target, [drafter], controller)
        return cls(controller.verify_cost, controller.draft_costs[drafter.name])

    @property
    def plain(self) -> float:
        """Tokens per second without a drafter, when nothing but passes takes time."""
        return 1 / max(self.verify.estimate(1), 1e-9)

    def rate(self, acceptance_length: float, drafts: int) -> float:
        """The same with so many drafts a round."""
        return acceptance_length / max(self.verify.estimate(drafts + 1) + self.draft.estimate(drafts), 1e-9)


@dataclass(frozen=True, slots=True)
class _Rounds:
    """What became of the answers of one kind: how many drafts each round accepted, and how many it could have."""

    kind: str
    accepted: list[int]
    offered: list[int]
    tokens: int


def judge(
    learner: Learner, answers: Sequence[Answered], features: TargetFeatures, times: PassTimes, together: int
) -> TrainingScore:
    """Let the drafter draft along the answers, so many of them at once."""
    found: list[tuple[Answered, list[int]]] = []
    with torch.no_grad(), autocast(features.device):
        for at in range(0, len(answers), together):
            part = answers[at : at + together]
            behind = learner.accepted(features.batch(part)).tolist()
            found += list(zip(part, behind, strict=True))
    longest = [_rounds(answered, behind, learner.longest) for answered, behind in found]
    rates = {}
    for drafts in range(1, learner.longest + 1):
        length = _length(_rounds(answered, behind, drafts) for answered, behind in found)
        rates[drafts] = times.rate(length, drafts)
    best = max(rates, key=lambda drafts: rates[drafts])
    kinds = dict.fromkeys(rounds.kind for rounds in longest)
    return TrainingScore(
        acceptance_length=_length(longest),
        by_kind={kind: _length(r for r in longest if r.kind == kind) for kind in kinds},
        per_position=_per_position(longest, learner.longest),
        tokens_per_second=rates[best],
        drafts=best,
        plain_tokens_per_second=times.plain,
    )


def autocast(device: torch.device) -> torch.autocast:
    """16 bits where they are faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _rounds(answered: Answered, behind: Sequence[int], drafts: int) -> _Rounds:
    """The rounds in which this answer would come, `drafts` a round; its first token comes with the prompt."""
    at, end = len(answered.prompt), len(answered.tokens) - 1
    accepted, offered = [], []
    while at < end:
        offered.append(min(drafts, end - at))
        accepted.append(min(behind[at], offered[-1]))
        at += accepted[-1] + 1
    return _Rounds(answered.category, accepted, offered, end - len(answered.prompt))


def _length(rounds: Iterable[_Rounds]) -> float:
    """Tokens a round."""
    found = list(rounds)
    return sum(r.tokens for r in found) / max(sum(len(r.accepted) for r in found), 1)


def _per_position(rounds: Sequence[_Rounds], longest: int) -> tuple[float, ...]:
    each = [pair for r in rounds for pair in zip(r.accepted, r.offered, strict=True)]
    rates = []
    for position in range(longest):
        tried = [accepted > position for accepted, offered in each if accepted >= position and offered > position]
        if not tried:
            break
        rates.append(sum(tried) / len(tried))
    return tuple(rates)
