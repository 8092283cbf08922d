"""What the target makes of the texts that a drafter learns from.

Computed when it is wanted, chunk by chunk, and kept in memory as far as there is room: never on disk.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    def batch(self, answers: Sequence[Answered]) -> TextBatch:
        """One batch of these texts."""
        read, made = zip(*(self._of(answered) for answered in answers), strict=True)
        tokens = pad_sequence(list(read), batch_first=True)
        features, final = pad_sequence(list(made), batch_first=True), None
        if self._target.ends is not None:
            inner = len(self._layers) * self._target.ends.hidden
            features, final = features[..., :inner], features[..., inner:]
        bounds = to_device([[len(a.prompt) for a in answers], [len(a.tokens) for a in answers]], self.device)
        starts, lengths = bounds.unsqueeze(-1)
        return TextBatch(tokens, features, final, starts, lengths, sum(len(a.answer) for a in answers))

    def _of(self, answered: Answered) -> tuple[Tensor, Tensor]:
        """The tokens [T]; the features [T, n * H], and what the target's head reads beside them."""
        if (kept := self._kept.get(answered.key)) is not None:
            return kept
        tokens = to_device([answered.tokens], self.device)[0]
        features = self._computed(tokens)
        if features.nbytes <= self._room:
            self._room -= features.nbytes
            self._kept[answered.key] = tokens, features
        return tokens, features

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
