"""What the target makes of the texts that a drafter learns from.

Computed when it is wanted, chunk by chunk, and kept in memory as far as there is room: never on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from specdec.models.base import Batch, Model
from specdec.training.answers import Answered
from specdec.training.learning import TextBatch
from specdec.transfer import to_device

_CHUNK = 2048


class TargetFeatures:
    """Texts with the outputs of the target's `layers`. `room`: bytes that may be kept."""

    def __init__(self, target: Model, layers: tuple[int, ...], room: int) -> None:
        self._target, self._layers, self._room = target, layers, room
        self.device = target.info.device
        self._kept: dict[str, Tensor] = {}

    def batch(self, answers: Sequence[Answered]) -> TextBatch:
        """One batch of these texts."""
        lengths = [len(answered.tokens) for answered in answers]
        wide, ends = max(lengths), list(accumulate(lengths))
        filled = [[*answered.tokens, *[0] * (wide - len(answered.tokens))] for answered in answers]
        bounds = to_device([[len(a.prompt) for a in answers], lengths, [0, *ends[:-1]]], self.device).unsqueeze(-1)
        starts, counts, begins = bounds
        # one after another, then to their places: that is two kernels, whatever the number of texts
        rows = begins + torch.arange(wide, device=self.device).minimum(counts - 1)
        features, final = torch.cat([self._of(answered) for answered in answers])[rows], None
        if self._target.ends is not None:
            inner = len(self._layers) * self._target.ends.hidden
            features, final = features[..., :inner], features[..., inner:]
        answered_tokens = sum(len(answered.answer) for answered in answers)
        return TextBatch(to_device(filled, self.device), features, final, starts, counts, answered_tokens)

    def answers(self, answers: Sequence[Answered]) -> Tensor:
        """What a drafter reads of these answers, all their tokens one below the other, [R, n * H]."""
        ends = self._target.ends
        assert ends is not None
        parts = [self._of(answered)[len(answered.prompt) :] for answered in answers]
        return torch.cat(parts)[:, : len(self._layers) * ends.hidden]

    def _of(self, answered: Answered) -> Tensor:
        """The features [T, n * H], and what the target's head reads beside them."""
        if (kept := self._kept.get(answered.key)) is not None:
            return kept
        features = self._computed(to_device([answered.tokens], self.device)[0])
        if features.nbytes <= self._room:
            self._room -= features.nbytes
            self._kept[answered.key] = features
        return features

    def _computed(self, tokens: Tensor) -> Tensor:
        target, ends = self._target, self._target.ends
        if ends is None:
            return torch.zeros(len(tokens), 0, device=self.device)
        layers, parts = (*self._layers, ends.layers), []
        with torch.inference_mode():
            for at in range(0, len(tokens), _CHUNK):
                part = tokens[at : at + _CHUNK].unsqueeze(0)
                found = target.run(Batch(part, [0], [at], 0, layers)).features
                assert found is not None
                parts.append(found[0])
            target.prepare()  # the next text of such a length goes through a graph
        return torch.cat(parts)  # outside inference mode, so that gradients may go through what is made of it
