"""Models of a described family in torch, on any device, written for speed at a few rows.

Same function as transformers' models of these types, from the same safetensors: fused qkv and gate-up weights, one
static cache, no mask where a single row attends to all that its slot holds, and logits only for the positions asked
for. Rotary angles, norms and logits are fp32 in every precision. Nothing in a pass waits for the device. Call it
under `torch.inference_mode()`.

Sizes: B rows, M tokens each, R = B * M, H hidden, N query heads, G key/value heads, D head size, V vocabulary.
"""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.base import DECODE_ROWS, Batch, HostModel, ModelInfo, ModelOptions, Pass, in_groups, in_pieces
from specdec.models.eager.attention import Rows, SlotCache
from specdec.models.families.base import ModelFamily
from specdec.models.prefixes import PrefixTree
from specdec.models.rope import Rope
from specdec.models.state import SlotState
from specdec.models.weights import layers
from specdec.models.weights.checkpoint import TensorSource
from specdec.models.weights.few_bits import FEW, TOGETHER, FewBitsWeight
from specdec.models.weights.layers import Layer, ModelWeights, Quantization
from specdec.models.weights.quantized import QuantizedWeight
from specdec.threads.count import threads

LONGEST = 1024
"""Tokens a row of one pass: what lies between layers must not be too large for a CPU's caches."""


class EagerModel(HostModel):
    """One model over slots (see `base.Model`)."""

    def __init__(self, family: ModelFamily, weights: ModelWeights, cache: SlotCache, info: ModelInfo) -> None:
        self.family, self.weights, self.cache, self.info = family, weights, cache, info
        self.state = SlotState(info.slots, PrefixTree(cache.keys_values))
        self.ends = EagerEnds(self)
        self._eps = torch.tensor(family.eps, device=info.device)

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        count = batch.tokens.shape[1]
        if max(batch.starts) + count > self.cache.capacity:
            raise ValueError(f"positions up to {max(batch.starts) + count}; a slot holds {self.cache.capacity}")
        threads.fit()
        if self.cache.apart and count <= DECODE_ROWS:
            return in_groups(batch, FEW // count, self._pass)
        return in_pieces(batch, LONGEST, self._pass)

    def _pass(self, batch: Batch) -> Pass:
        rows, count = batch.tokens.shape
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
        features = torch.cat(wanted, -1) if wanted else None
        if batch.keep == 0:
            return Pass(x.new_empty((rows, 0, self.family.vocab), dtype=torch.float32), features)
        kept = x.view(rows, count, -1)[:, -batch.keep :].flatten(0, 1)
        logits = self.weights.head(self._norm(kept, self.weights.norm)).float()
        return Pass(logits.view(rows, batch.keep, -1), features)

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


class EagerEnds:
    """Embedding and head of such a model (see `base.ModelEnds`)."""

    def __init__(self, model: EagerModel) -> None:
        self._model, self.hidden, self.layers = model, model.family.hidden, model.family.layers
        self.rounded = isinstance(model.weights.head, QuantizedWeight | FewBitsWeight)

    def embed(self, tokens: Tensor) -> Tensor:
        """See `base.ModelEnds.embed`."""
        return F.embedding(tokens, self._model.weights.embedding)

    def unembed(self, x: Tensor) -> Tensor:
        """See `base.ModelEnds.unembed`."""
        return self._model.weights.head(x).float()


def load(
    source: TensorSource,
    family: ModelFamily,
    quantization: Quantization | None = None,
    **options: Unpack[ModelOptions],
) -> EagerModel:
    """A model of a family, with the tensors of `source`."""
    weights = layers.read(source, family, options["device"], options["dtype"], quantization)
    remark = "" if quantization is None else quantization.remark
    return over(weights, family, weights.format + remark, **options)


def over(weights: ModelWeights, family: ModelFamily, weight_format: str, **options: Unpack[ModelOptions]) -> EagerModel:
    """A model of a family, with weights that were read."""
    device, dtype = options["device"], options["dtype"]
    capacity = options["context"] + DECODE_ROWS
    rope = Rope(*family.rope, capacity, device)
    cache = SlotCache(family, options["slots"], capacity, rope, dtype, apart=weights.rounds)
    info = ModelInfo(
        **options,
        architecture=family.architecture,
        backend="eager",
        vocab_size=family.vocab,
        parameters=weights.parameters,
        weight_bytes=weights.nbytes,
        cache_bytes=cache.nbytes,
        weight_format=weight_format,
        together=TOGETHER if weights.rounds else 1,
    )
    return EagerModel(family, weights, cache, info)
