"""A small model of the target's own family learns to say what the target says."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from specdec.drafters.heads.layers import HeadBody, read_layer
from specdec.models.families.base import ModelFamily
from specdec.models.rope import Rope
from specdec.training.attention import LearningRows
from specdec.training.learning import Speaker, TextBatch
from specdec.training.weights import FrozenEnds, LearningTensors

_DECODER = "model"


class ModelLearner:
    """See `learning.Learner`. `ends` are None of a target that does not show its head; then the model learns from the
    tokens alone."""

    features: tuple[int, ...] = ()

    def __init__(
        self, family: ModelFamily, tensors: LearningTensors, ends: FrozenEnds | None, length: int, longest: int
    ) -> None:
        self.tensors, self.longest, self._family = tensors, longest, family
        names, hidden = family.names, family.hidden
        layers = [f"{_DECODER}.{names.layer.format(index=i)}" for i in range(family.layers)]
        self._body = HeadBody(family, [read_layer(tensors, at, family, hidden) for at in layers])
        self._embedding = tensors.tensor(f"{_DECODER}.{names.embedding}.weight", family.vocab, hidden)
        self._norm = tensors.tensor(f"{_DECODER}.{names.norm}.weight", hidden)
        self._head = None if family.tied else tensors.weight([names.head], (family.vocab,), hidden)
        self._rope = Rope(*family.rope, length + 1, self._embedding.device)
        self._speaker = Speaker(self._logits, _no_teacher if ends is None else ends.unembed)

    def loss(self, batch: TextBatch, chance: Generator, rows: int) -> Tensor:
        """See `learning.Learner.loss`."""
        at, drawn = batch.drawn(chance, max(1, rows // batch.tokens.shape[0]))
        each = torch.arange(batch.tokens.shape[0], device=at.device).unsqueeze(-1)
        final = None if batch.final is None else batch.final[each, at].flatten(0, 1)
        said, labels = self._said(batch.tokens)[each, at], batch.tokens[each, at + 1]
        return self._speaker.loss(said.flatten(0, 1), final, labels.flatten(), drawn.flatten().float())

    def accepted(self, batch: TextBatch) -> Tensor:
        """See `learning.Learner.accepted`."""
        said = self._said(batch.tokens)
        best = self._speaker.best(said.flatten(0, 1)).view(batch.tokens.shape)
        inside = torch.arange(1, best.shape[1], device=best.device) < batch.lengths
        matches = F.pad((best[:, :-1] == batch.tokens[:, 1:]) & inside, (0, self.longest))
        return matches.unfold(1, self.longest, 1).int().cumprod(-1).sum(-1)

    def _said(self, tokens: Tensor) -> Tensor:
        """What the head takes behind every token [B, T], [B, T, H]."""
        texts, wide = tokens.shape
        every = torch.arange(wide, device=tokens.device)

        def sees(window: int | None) -> Tensor:
            seen = every <= every.unsqueeze(-1)
            if window is not None:
                seen = seen & (every > every.unsqueeze(-1) - window)
            return seen.unsqueeze(0)

        rows = LearningRows(self._family, self._rope, every.expand(texts, -1), sees)
        x = F.embedding(tokens.flatten(), self._embedding)
        for index in range(self._family.layers):
            x = self._body.layer(index, x, rows)
        return self._body.norm(x, self._norm).view(texts, wide, -1)

    def _logits(self, x: Tensor) -> Tensor:
        return (F.linear(x, self._embedding) if self._head is None else self._head(x)).float()


def smaller(config: Any, layers: int) -> dict[str, Any]:
    """The config of a model of the same family, so deep and about a third as wide."""
    values: dict[str, Any] = config.to_dict()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    group = config.num_attention_heads // (config.num_key_value_heads or config.num_attention_heads)
    kv_heads = max(1, round(config.hidden_size / 3 / (size * group)))
    values |= {
        "hidden_size": kv_heads * group * size,  # heads have to divide it
        "intermediate_size": max(64, config.intermediate_size // 3 // 64 * 64),
        "num_hidden_layers": layers,
        "num_attention_heads": kv_heads * group,
        "num_key_value_heads": kv_heads,
        "head_dim": size,
        "tie_word_embeddings": True,
    }
    if values.get("layer_types"):
        values["layer_types"] = values["layer_types"][:layers]
    return values


def _no_teacher(_final: Tensor) -> Tensor:
    raise AssertionError("this target does not show its head")
