"""Whether a model of transformers, run some way, computes what its own full pass does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt, UnsupportedModel, first_line
from specdec.models.base import Batch, Model, ModelInfo

TOKENS = 8
"""Enough for every probe."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.03}
"""Mean difference of logits, as a share of their spread, up to which two paths agree."""
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError, ImportError)
"""What a model raises that cannot run some way."""


class Probe:
    """A few tokens [1, M], and the logits [1, M, V] of the model's own pass over them, without a cache."""

    def __init__(self, model: Any, info: ModelInfo) -> None:
        self.count = min(TOKENS, info.context)
        vocab = int(model.config.get_text_config().vocab_size)
        self.tokens = torch.arange(3, 3 + self.count, device=info.device).remainder(vocab).unsqueeze(0)
        try:
            self.truth: Tensor = model(self.tokens, use_cache=False).logits.float()
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            raise UnsupportedModel(
                f"{info.name}: transformers' {info.architecture} fails at its first pass: {first_line(error)}"
            ) from error
        if not bool(self.truth.amax(-1).isfinite().all()):
            raise CheckpointCorrupt(
                f"{info.name}: the logits of a first pass in {info.dtype} are NaN or infinite; expected weights "
                "without NaN, and a dtype that is wide enough for them"
            )

    def rolls_back(self, model: Model) -> bool:
        """Whether chunks, and other tokens after a rollback, give the full pass's logits."""
        half = self.count // 2
        chunks = [self._part(0, half, 0), Batch(self.tokens[:, : half - 1], [0], [half - 1], 1)]
        return self._gives(model, [*chunks, self._part(half - 1)], self.truth[:, half - 1 :])

    def carries_on(self, model: Model) -> bool:
        """Whether a state that was carried on, and one that went back to a token in the middle of a pass, do."""
        half = self.count // 2
        model.state.begin(0, self.tokens[0].tolist())
        chunks = [self._part(0, half, 0), self._part(half, keep=1)]
        return self._gives(model, [*chunks, self._part(half + 1)], self.truth[:, half + 1 :])

    def runs_together(self, model: Model) -> bool:
        """Whether two rows at different places, run together, do. Slot 0 holds all of the tokens."""
        pair = torch.cat((self.tokens[:, 2:5], self.tokens[:, 4:7]))
        passes = [Batch(self.tokens[:, :2], [1], [0], 0), Batch(pair, [1, 0], [2, 4], 3)]
        return self._gives(model, passes, torch.cat((self.truth[:, 2:5], self.truth[:, 4:7])))

    def replays(self, model: Model) -> bool:
        """Whether passes do that a graph will hold, and replayed ones."""
        passes = [self._part(0, 2, 0), self._part(2)]
        return self._gives(model, passes, self.truth[:, 2:]) and self._gives(
            model, passes, self.truth[:, 2:], made=True
        )

    def _part(self, start: int, end: int | None = None, keep: int | None = None) -> Batch:
        """A pass over these of the tokens in slot 0, for all of their logits or the last so many."""
        tokens = self.tokens[:, start:end]
        return Batch(tokens, [0], [start], tokens.shape[1] if keep is None else keep)

    def _gives(self, model: Model, passes: Sequence[Batch], wanted: Tensor, *, made: bool = False) -> bool:
        """Whether the last of these passes gives `wanted`; `made`: as graphs."""
        try:
            while made and model.prepare():
                pass
            found = [model.run(batch) for batch in passes][-1].logits
            return bool((found - wanted).abs().mean() <= TOLERANCE[model.info.dtype] * wanted.std())
        except FAILURES:
            return False
