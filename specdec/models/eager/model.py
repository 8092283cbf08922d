"""Models of a described family in torch, on any device, written for speed at a few rows.

Same function as transformers' models of these types, from the same safetensors: fused qkv and gate-up weights, one
static cache, no mask where a single row attends to all that its slot holds, and logits only for the positions asked
for. Rotary angles, norms and logits are fp32 in every precision. Nothing in a pass waits for the device. Call it
under `torch.inference_mode()`.

Sizes: B rows, M tokens each, R = B * M, H hidden, N query heads, G key/value heads, D head size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models import rope
from specdec.models.base import Batch, ModelInfo, Pass
from specdec.models.eager.attention import Rows, SlotCache
from specdec.models.families import llama
from specdec.models.families.base import Family
from specdec.models.prefixes import PrefixTree
from specdec.models.state import SlotState
from specdec.models.weights import layers
from specdec.models.weights.checkpoint import Source
from specdec.models.weights.layers import Layer, ModelWeights
from specdec.threads.count import threads
from specdec.types import MAX_SPECULATIVE_TOKENS


class EagerModel:
    """One model over slots (see `base.Model`)."""

    device = None

    def __init__(self, family: Family, weights: ModelWeights, cache: SlotCache, info: ModelInfo) -> None:
        self.family, self.weights, self.cache, self.info = family, weights, cache, info
        self.state = SlotState(info.slots, PrefixTree(cache.keys_values))
        self._eps = torch.tensor(family.eps, device=info.device)

    def warm_up(self) -> None:
        """See `base.Model.warm_up`: there is nothing."""

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        rows, count = batch.tokens.shape
        if max(batch.starts) + count > self.cache.capacity:
            raise ValueError(f"positions up to {max(batch.starts) + count}; a slot holds {self.cache.capacity}")
        threads.fit()
        attending = self.cache.rows(batch.slots, batch.starts, count)
        x = F.embedding(batch.tokens.reshape(-1), self.weights.embedding)  # [R, H]
        outputs: dict[int, Tensor] = {}
        for index, layer in enumerate(self.weights.layers):
            if index in batch.features:
                outputs[index] = x
            x = self._layer(index, layer, x, attending)
        if self.family.layers in batch.features:
            outputs[self.family.layers] = self._norm(x, self.weights.norm)
        wanted = [outputs[i].view(rows, count, -1) for i in batch.features]
        return Pass(self._logits(x, rows, batch.keep), torch.cat(wanted, -1) if wanted else None)

    def _logits(self, x: Tensor, rows: int, keep: int) -> Tensor:
        """fp32 [B, keep, V] from the residual stream [R, H]."""
        if keep == 0:
            return x.new_empty((rows, 0, self.family.vocab), dtype=torch.float32)
        kept = x.view(rows, x.shape[0] // rows, -1)[:, -keep:].flatten(0, 1)
        return self.weights.head(self._norm(kept, self.weights.norm)).float().view(rows, keep, -1)

    def _layer(self, index: int, layer: Layer, x: Tensor, rows: Rows) -> Tensor:
        """The residual stream [R, H] through one layer."""
        family = self.family
        turned = family.heads + family.kv_heads
        qkv = layer.qkv(self._norm(x, layer.input_norm)).view(x.shape[0], -1, family.head_dim)
        qk, values = qkv[:, :turned], qkv[:, turned:]
        if layer.head_norms is not None:
            qk = self._norm(qk, layer.head_norms)
        qk = self.cache.rope.rotate(qk, rows.cos, rows.sin)
        x = x + layer.out(rows.attend(index, qk[:, : family.heads], qk[:, family.heads :], values))
        gate, up = layer.gate_up(self._norm(x, layer.mlp_norm)).chunk(2, -1)
        return x + layer.down(F.silu(gate) * up)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMS norm over the last axis, rounded where transformers rounds. Weights may differ per head."""
        size, wide = x.shape[-1], x.float()
        if wide.is_cuda:
            return weight * F.rms_norm(wide, (size,), None, self.family.eps).to(x.dtype)
        # a CPU runs F.rms_norm in twelve steps
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1 / size).rsqrt_()
        return (wide * scale).to(x.dtype) * weight


def load(
    source: Source,
    config: Any,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    context: int,
    slots: int,
    spare: int = 0,
) -> EagerModel:
    """A model for a config that a family describes, with the tensors of `source`. `spare`: slots of the cache beside
    those that callers use."""
    family = llama.describe(config)
    weights = layers.read(source, family, device, dtype)
    capacity = context + MAX_SPECULATIVE_TOKENS + 1
    size = (2 * family.layers, slots + spare, family.kv_heads, capacity, family.head_dim)
    cache = SlotCache(
        family,
        torch.zeros(size, dtype=dtype, device=device),
        rope.Rope(config, family.head_dim, capacity, device),
    )
    info = ModelInfo(
        name=name,
        architecture=(config.architectures or [config.model_type])[0],
        backend="eager",
        vocab_size=family.vocab,
        context=context,
        slots=slots,
        device=device,
        dtype=dtype,
        parameters=weights.parameters,
        weight_bytes=weights.nbytes,
        cache_bytes=cache.tensor.nbytes,
    )
    return EagerModel(family, weights, cache, info)
