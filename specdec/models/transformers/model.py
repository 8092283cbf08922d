"""Decoder-only models of transformers whose slots hold keys and values.

They run over a static slot cache (`cache.StaticSlots`), and transformers builds masks and positions for a single row as
it always does. Several rows run together under an explicit causal mask where the model can, else one by one.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.base import DECODE_ROWS, Batch, HostModel, ModelInfo, Pass, joined
from specdec.models.prefixes import PrefixTree
from specdec.models.state import SlotState
from specdec.models.transformers.cache import StaticSlots
from specdec.models.weights.checkpoint import maximum_positions
from specdec.threads.count import threads


class Forward:
    """Calls a model of transformers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.accepted = inspect.signature(model.forward).parameters

    def __call__(self, tokens: Tensor, keep: int, features: tuple[int, ...], **options: Any) -> tuple[Pass, Any]:
        """The pass over tokens [B, M], and transformers' own output."""
        if "logits_to_keep" in self.accepted:
            options["logits_to_keep"] = max(keep, 1)
        if features:
            options["output_hidden_states"] = True
        found = self.model(tokens, use_cache=True, **options)
        wanted = torch.cat([found.hidden_states[i] for i in features], -1) if features else None
        return Pass(found.logits[:, found.logits.shape[1] - keep :].float(), wanted), found


class TransformersEnds:
    """Embedding and head of a model of transformers (see `base.ModelEnds`)."""

    rounded = False

    def __init__(self, embedding: Any, head: Any, config: Any) -> None:
        self._embedding, self._head = embedding, head
        self.hidden, self.layers = config.hidden_size, config.num_hidden_layers

    @classmethod
    def of(cls, model: Any) -> TransformersEnds | None:
        """None for a model that does not say which they are, or spreads over several devices."""
        config = model.config.get_text_config()
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        known = hasattr(config, "hidden_size") and hasattr(config, "num_hidden_layers")
        if embedding is None or head is None or not known or getattr(model, "hf_device_map", None):
            return None
        return cls(embedding, head, config)

    def embed(self, tokens: Tensor) -> Tensor:
        """See `base.ModelEnds.embed`."""
        found: Tensor = self._embedding(tokens)
        return found

    def unembed(self, x: Tensor) -> Tensor:
        """See `base.ModelEnds.unembed`."""
        logits: Tensor = self._head(x)
        return logits.float()


class TransformersModel(HostModel):
    """One model over slots (see `base.Model`)."""

    def __init__(self, model: Any, info: ModelInfo) -> None:
        self.forward, self.info = Forward(model), info
        capacity = info.context + DECODE_ROWS
        self.limit = min(maximum_positions(model.config) or capacity, capacity)
        self.together_below = 0
        """Rows may run together while all end at or below this."""
        self.cache = StaticSlots(info.slots + (info.device.type == "cuda"), capacity)  # one to fill up graphs
        self.state = SlotState(info.slots, PrefixTree(self.cache.keys_values))
        self.ends = TransformersEnds.of(model)

    @property
    def model(self) -> Any:
        """transformers' own."""
        return self.forward.model

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        count = batch.tokens.shape[1]
        end = max(batch.starts) + count
        if end > self.cache.capacity:
            raise ValueError(f"positions up to {end}; a slot holds {self.cache.capacity}")
        threads.fit()
        rows = list(zip(batch.slots, batch.starts, strict=True))
        if len(rows) == 1 or end > self.together_below:
            each = zip(torch.split(batch.tokens, 1), rows, strict=True)
            return joined([self._alone(tokens, row, batch.keep, batch.features) for tokens, row in each], 0)
        positions = torch.tensor(list(batch.starts)).unsqueeze(1) + torch.arange(count)  # [B, M]
        hidden = torch.arange(end) > positions.unsqueeze(-1)
        mask = torch.zeros(hidden.shape, dtype=self.info.dtype)
        mask = mask.masked_fill_(hidden, torch.finfo(self.info.dtype).min).unsqueeze(1)  # [B, 1, M, T]
        extra = {"attention_mask": mask.to(self.info.device)}
        if "position_ids" in self.forward.accepted:
            extra["position_ids"] = positions.to(self.info.device)
        return self._pass(batch.tokens, rows, batch.keep, batch.features, **extra)

    def _alone(self, tokens: Tensor, row: tuple[int, int], keep: int, features: tuple[int, ...]) -> Pass:
        """A row by itself, [1, keep, V]. Beyond the model's last position there is only padding: it is not run."""
        count = tokens.shape[1]
        beyond = max(0, row[1] + count - self.limit)
        if beyond == 0:
            return self._pass(tokens, [row], keep, features)
        logits = torch.zeros((1, keep, self.info.vocab_size), device=tokens.device)
        if beyond == count:
            return Pass(logits)
        found = self._pass(tokens[:, : count - beyond], [row], max(0, keep - beyond), features)
        logits[:, : found.logits.shape[1]] = found.logits
        padded = None if found.features is None else F.pad(found.features, (0, 0, 0, beyond))
        return Pass(logits, padded)

    def _pass(
        self, tokens: Tensor, rows: list[tuple[int, int]], keep: int, features: tuple[int, ...], **extra: Tensor
    ) -> Pass:
        self.cache.rows = rows
        return self.forward(tokens, keep, features, past_key_values=self.cache, **extra)[0]
