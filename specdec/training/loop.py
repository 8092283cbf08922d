"""The loop: steps, judgements and checkpoints until the time or the tokens are used up.

Which texts a step learns from follows from the seed and the step's number alone, so a training that goes on does what
it would have done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch

from specdec.errors import CheckpointCorrupt, TrainingFailed, first_line
from specdec.training.answers import Answered
from specdec.training.features import TargetFeatures
from specdec.training.judging import autocast
from specdec.training.learning import Learner
from specdec.training.memory import MemoryPlan
from specdec.training.optimiser import Optimiser
from specdec.training.options import TrainingOptions
from specdec.training.progress import Report, TrainingProgress, TrainingScore
from specdec.training.weights import write_tensors
from specdec.training.workspace import replacing

_RATE, _RATE_ON = 0.02, 0.005
"""Of matrices, for a new drafter and for one that has learnt."""
_REST = 0.15
"""Of that, for all else."""
_WARM_UP = 0.04
_LEAST = 0.05
"""Of the learning rate, at the end."""
_JUDGED = 8
"""Judgements in a training, beside the first."""
_JUDGING = 8
"""How many times as long learning goes on, by the clock, before the next one: on a slow machine a judgement takes as
long as many steps."""
_ALIKE = 8
"""Steps whose answers are sorted by length."""
_KEPT_EVERY = 45.0
"""Seconds between checkpoints."""
_CHECKED_EVERY, _CHECKED_AFTER = 10, 15.0
"""Steps between looks at the loss, since each waits for the device, and seconds where steps are slow."""
_DIVERGED = 2.0
"""The loss beside the first one that is known, above which a training has failed."""


@dataclass
class TrainingState:
    """How far a training has come: all continuations together."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    answering: float = 0.0
    """Of the seconds, until learning could begin: mostly the target's answers."""
    first_loss: float | None = None
    judged: int = 0
    judged_at: int = 0
    """The last judgement's step."""
    before: TrainingScore | None = None
    best: TrainingScore | None = None

    def progress(self, options: TrainingOptions) -> float:
        """How much of the learning is done, 0 to 1."""
        if options.tokens is not None:
            return min(self.tokens / options.tokens, 1.0)
        learning = options.seconds - self.answering
        return min((self.seconds - self.answering) / learning, 1.0) if learning > 0 else 1.0


class TrainingLoop:
    """One drafter that learns. `judge` says how good it is."""

    def __init__(
        self,
        options: TrainingOptions,
        learner: Learner,
        plan: MemoryPlan,
        judge: Callable[[], TrainingScore],
        report: Report,
        dtype: torch.dtype,
    ) -> None:
        self.options, self.learner, self.plan, self.state = options, learner, plan, TrainingState()
        self._judge, self._report, self._dtype = judge, report, dtype
        tensors, self._rate = learner.tensors, options.rate or (_RATE if options.start is None else _RATE_ON)
        self._optimiser = Optimiser(tensors.matrices, tensors.rest, self._rate, _REST * self._rate)
        self._file = options.out / "training" / "state.pt"
        self._kept = self._judge_at = time.monotonic()
        self._judging = 0.0
        """Seconds that the last judgement took."""
        self._steps: tuple[int, list[list[int]]] | None = None
        """Of an epoch: which answers each step learns from."""
        self._whole = True
        """Whether the parameters are those of a finished step."""

    @property
    def progress(self) -> float:
        return self.state.progress(self.options)

    def run(self, answers: Sequence[Answered], features: TargetFeatures) -> bool:
        """Learn from the answers; False where Ctrl-C ended it. What was learnt is kept either way. Raises
        TrainingFailed, and KeyboardInterrupt where Ctrl-C came before anything was learnt."""
        last = checked = time.monotonic()
        losses: list[torch.Tensor] = []
        try:
            if self.state.before is None:
                self._judged()
                self.keep()
            while self.progress < 1:
                losses.append(self._step(answers, features))
                now = time.monotonic()
                self.state.seconds, last = self.state.seconds + now - last, now
                regular = self.progress >= 1 or self.state.step % _CHECKED_EVERY == 0
                if regular or now - checked > _CHECKED_AFTER:
                    checked = now
                    self._check(losses)
                    losses.clear()
                    # by tokens the same steps are judged however slow they are
                    due = regular if self.options.tokens is not None else now >= self._judge_at
                    if due and self.state.judged <= self.progress * _JUDGED < _JUDGED:
                        self._judged()
                    elif now - self._kept > _KEPT_EVERY:
                        self.keep()
            if self.state.judged_at < self.state.step:  # else it ended before
                self._judged()
        except KeyboardInterrupt:
            if self.state.before is None:
                raise
            if self._whole:
                self.keep()
            return False
        self.keep()
        return True

    def keep(self) -> None:
        """Write the checkpoint from which the same training goes on."""
        kept = {
            "state": asdict(self.state),
            "weights": self.learner.tensors.learnt(),
            "optimiser": self._optimiser.state(),
        }
        with replacing(self._file) as fresh:
            torch.save(kept, fresh)
        self._kept = time.monotonic()

    def resume(self) -> bool:
        """Take over what an earlier run kept, if it did."""
        if not self._file.exists():
            return False
        try:
            kept: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
            state = kept["state"] | {
                name: None if kept["state"][name] is None else TrainingScore(**kept["state"][name])
                for name in ("before", "best")
            }
            self.learner.tensors.restore(kept["weights"])
            self._optimiser.restore(kept["optimiser"])
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
            raise CheckpointCorrupt(
                f"{self._file} is damaged ({first_line(error)}); expected what a training left there: remove it, and "
                "the training begins anew"
            ) from error
        self.state = TrainingState(**state)
        return True

    def _step(self, answers: Sequence[Answered], features: TargetFeatures) -> torch.Tensor:
        """Learn from one batch; its loss."""
        texts = self._texts(answers)
        batch = features.batch(texts)
        chance = torch.Generator().manual_seed(Random(f"{self.options.seed}/{self.state.step}").getrandbits(63))
        with autocast(features.device):
            loss = self.learner.loss(batch, chance, self.plan.rows)
        loss.backward()  # type: ignore[no-untyped-call]
        self._whole = False
        self._optimiser.step(_schedule(self.progress))
        self.state.step += 1
        self.state.tokens += batch.answered
        self._whole = True
        return loss.detach()

    def _texts(self, answers: Sequence[Answered]) -> list[Answered]:
        """Of this step: the answers in an order that is new each time they have all been learnt from."""
        at_once = min(self.plan.texts, len(answers))
        epoch, at = divmod(self.state.step, len(answers) // at_once)
        if self._steps is None or self._steps[0] != epoch:
            self._steps = epoch, self._ordered(answers, at_once, Random(f"{self.options.seed}/order/{epoch}"))
        return [answers[i] for i in self._steps[1][at]]

    @staticmethod
    def _ordered(answers: Sequence[Answered], at_once: int, rng: Random) -> list[list[int]]:
        """What each step learns from: of some steps' answers those of a length together, as shorter ones are filled
        up."""
        order, steps = rng.sample(range(len(answers)), len(answers) // at_once * at_once), []
        for low in range(0, len(order), _ALIKE * at_once):
            alike = sorted(order[low : low + _ALIKE * at_once], key=lambda i: len(answers[i].tokens))
            steps += [alike[at : at + at_once] for at in range(0, len(alike), at_once)]
        rng.shuffle(steps)
        return steps

    def _check(self, losses: Sequence[torch.Tensor]) -> None:
        """Look at the loss, and tell."""
        state = self.state
        loss = float(torch.stack(list(losses)).mean())
        state.first_loss = state.first_loss or loss
        if not math.isfinite(loss) or loss > _DIVERGED * state.first_loss:
            raise self._failed(f"the loss is {loss:.3g} after {state.step} steps, and began at {state.first_loss:.3g}")
        self._tell(loss)

    def _judged(self) -> None:
        """Judge, and write the drafter where it is the best one so far. The last step's weights are in no loss yet."""
        state, tensors = self.state, self.learner.tensors
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.learnt().values()):
            raise self._failed(f"some weights are no finite numbers after {state.step} steps")
        if state.step:
            self.keep()  # a judgement may take minutes
        began, score = time.monotonic(), self._judge()
        self._judging = time.monotonic() - began
        self._judge_at = began + (1 + _JUDGING) * self._judging
        state.judged, state.judged_at = state.judged + 1, state.step
        state.before = state.before or score
        if state.best is None or score.acceptance_length >= state.best.acceptance_length:
            state.best = score
            write_tensors(self.options.out, tensors.state(), self._dtype)
        self._tell(None)

    def _failed(self, why: str) -> TrainingFailed:
        """What to raise; what it would go on from is spoilt."""
        self._file.unlink(missing_ok=True)
        return TrainingFailed(
            f"{why}: the training diverged; {self.options.out} keeps the best drafter so far, and the same command "
            f"goes on from there; expected a lower rate than {self._rate:.2g}"
        )

    def _tell(self, loss: float | None) -> None:
        state, done = self.state, self.progress
        left = (state.seconds - state.answering) / done * (1 - done) if done > 0 else None
        if left is not None and state.judged_at < state.step:  # and the last judgement
            left += self._judging
        self._report(
            TrainingProgress(
                "training", done, left, state.step, state.tokens, loss=loss, before=state.before, best=state.best
            )
        )


def _schedule(progress: float) -> float:
    """Of the learning rate: up, then down along a cosine."""
    if progress < _WARM_UP:
        return max(progress / _WARM_UP, 0.02)
    return _LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2
