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

_CHUNK = 2048


class TargetFeatures:
    """Texts with the outputs of the target's `layers`. `room`: bytes that may be kept."""

    def __init__(self, target: Model, layers: tuple[int, ...], room: int) -> None:
        self._target, self._layers, self._room = target, layers, room
        self.device = target.info.device
        self._kept: dict[str, Tensor] = {}

    def batch(self, answers: Sequence[Answered]) -> TextBatch:
        """One batch of these texts."""
        device = self.device
        found = [self._of(answered) for answered in answers]
        tokens = pad_sequence([torch.tensor(a.tokens, device=device) for a in answers], batch_first=True)
        features, final = pad_sequence(found, batch_first=True), None
        if self._target.ends is not None:
            inner = len(self._layers) * self._target.ends.hidden
            features, final = features[..., :inner], features[..., inner:]
        starts, lengths = tuple(len(a.prompt) for a in answers), tuple(len(a.tokens) for a in answers)
        return TextBatch(tokens, features, final, starts, lengths)

    def _of(self, answered: Answered) -> Tensor:
        """[T, n * H], and what the target's head reads beside it."""
        if (kept := self._kept.get(answered.key)) is not None:
            return kept
        found = self._computed(answered.tokens)
        if found.nbytes <= self._room:
            self._room -= found.nbytes
            self._kept[answered.key] = found
        return found

    def _computed(self, tokens: Sequence[int]) -> Tensor:
        target, ends = self._target, self._target.ends
        if ends is None:
            return torch.zeros(len(tokens), 0, device=self.device)
        layers, parts = (*self._layers, ends.layers), []
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.device)
            for at in range(0, len(tokens), _CHUNK):
                found = target.run(Batch(ids[:, at : at + _CHUNK], [0], [at], 0, layers)).features
                assert found is not None
                parts.append(found[0])
        return torch.cat(parts)  # outside inference mode, so that gradients may go through what is made of it
