"""How good a drafter is, on answers of the target that it does not learn from.

The answers are greedy, so what a round would accept follows from the text itself: a draft is accepted if the text goes
on with it.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from specdec.decoding.rounds.kinds import lengths
from specdec.engine import Engine
from specdec.training.answers import Answered
from specdec.training.features import TargetFeatures
from specdec.training.learning import Learner
from specdec.training.progress import TrainingScore
from specdec.types import GenerationEvent, Request

_LEAST, _MOST = 4, 48
"""Rounds of each number of drafts that are timed."""
_SECONDS = 0.1
"""After which no more are than the least."""


@dataclass(frozen=True, slots=True)
class RoundTimes:
    """How long rounds take on this machine: whole ones, with what lies between passes."""

    seconds: Mapping[int, float]
    """By drafts."""

    @classmethod
    def measured(cls, engine: Engine, longest: int, prompt: Sequence[int]) -> RoundTimes:
        """Of the engine's answers to a prompt, with up to `longest` drafts a round and without any."""
        timed = sorted({0, 1, *lengths(longest)})
        return cls({drafts: median(_round_seconds(engine, drafts, prompt)) for drafts in timed})

    def rate(self, acceptance_length: float, drafts: int) -> float:
        """Tokens per second with so many drafts a round. A round with one may cost more than two without: what is
        between two that were timed is taken from these alone."""
        low = max(k for k in self.seconds if k <= drafts)
        high = min((k for k in self.seconds if k >= drafts), default=low)
        share = (drafts - low) / max(high - low, 1)
        seconds = (1 - share) * self.seconds[low] + share * self.seconds[high]
        return acceptance_length / max(seconds, 1e-9)


def _round_seconds(engine: Engine, drafts: int, prompt: Sequence[int]) -> list[float]:
    """Of some rounds, one after another, by the clock of the engine's thread: this one may lag behind."""
    noted: queue.SimpleQueue[tuple[float, GenerationEvent | BaseException]] = queue.SimpleQueue()
    request = Request.of(prompt, temperature=0.0, ignore_eos=True, speculative=drafts, remember=False)
    found, began, last = list[float](), time.perf_counter(), 0.0
    while len(found) < _LEAST:  # an answer ends where the context does
        cancel = engine.submit(request, lambda event: noted.put((time.perf_counter(), event)))
        ended = False
        while not ended:
            now, event = noted.get()
            if isinstance(event, BaseException):
                raise event
            found += [now - last] if event.round else []
            last, ended = now, event.end is not None
            if len(found) == _MOST or (len(found) >= _LEAST and now - began > _SECONDS):
                break
        cancel()
    return found


@dataclass(frozen=True, slots=True)
class _Rounds:
    """What became of the answers of one kind: how many drafts each round accepted, and how many it could have."""

    kind: str
    accepted: list[int]
    offered: list[int]
    tokens: int


def judge(
    learner: Learner, answers: Sequence[Answered], features: TargetFeatures, times: RoundTimes, together: int
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
        plain_tokens_per_second=times.rate(1.0, 0),
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
