"""The weights of a family's layers, read from a checkpoint straight into fused tensors on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.models.families.base import ModelFamily
from specdec.models.weights.base import Weight
from specdec.models.weights.checkpoint import TensorSource
from specdec.models.weights.dense import dense


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one decoder layer."""

    qkv: Weight
    out: Weight
    gate_up: Weight
    down: Weight
    input_norm: Tensor
    mlp_norm: Tensor
    head_norms: Tensor | None
    """[N + G, D], per-head norms of queries and keys."""

    @property
    def products(self) -> tuple[Weight, ...]:
        return self.qkv, self.out, self.gate_up, self.down


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """All weights of a model."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Weight
    parameters: int

    @property
    def nbytes(self) -> int:
        norms = [n for x in self.layers for n in (x.input_norm, x.mlp_norm, x.head_norms) if n is not None]
        head = 0 if self.head.tensor is self.embedding else self.head.nbytes
        plain = sum(t.nbytes for t in (self.embedding, self.norm, *norms))
        return sum(w.nbytes for x in self.layers for w in x.products) + plain + head


def read(source: TensorSource, family: ModelFamily, device: torch.device, dtype: torch.dtype) -> ModelWeights:
    """All weights of `family`, from the tensors of `source`."""
    names, table = family.names, ((family.vocab,), family.hidden)
    reader = _LayerReader(source, family, device, dtype)
    embedded, head = f"{reader.prefix}{names.embedding}.weight", f"{names.head}.weight"
    embedding = reader.stack([embedded], *table)
    layers = tuple(reader.layer(i) for i in range(family.layers))
    norm = reader.stack([f"{reader.prefix}{names.norm}.weight"], (family.hidden,))
    own_head = not family.tied
    if family.tied and head in source:
        # one that differs from the embedding is the model's, as it is to transformers, whatever the config says
        shape = (family.vocab, family.hidden)
        own_head = not torch.equal(source.get(embedded, shape), source.get(head, shape))
    # packing copies: of tied weights a CPU keeps two forms, one to look up and one to multiply with
    product = dense(reader.stack([head], *table) if own_head else embedding)
    return ModelWeights(embedding, layers, norm, product, reader.parameters)


class _LayerReader:
    def __init__(self, source: TensorSource, family: ModelFamily, device: torch.device, dtype: torch.dtype) -> None:
        self.source, self.family, self.device, self.dtype = source, family, device, dtype
        self.parameters = 0
        self.prefix = "model." if f"model.{family.names.embedding}.weight" in source else ""

    def stack(self, names: Sequence[str], rows: Sequence[int], *columns: int) -> Tensor:
        """The named tensors, one below the other. Absent ones (some biases) are zero."""
        whole = torch.zeros((sum(rows), *columns), dtype=self.dtype, device=self.device)
        for name, part, count in zip(names, torch.split(whole, list(rows)), rows, strict=True):
            if name in self.source or not name.endswith(".bias"):
                part.copy_(self.source.get(name, (count, *columns)))
                self.parameters += part.numel()
        return whole

    def weight(self, at: str, parts: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        biases = [f"{at}.{p}.bias" for p in parts]
        bias = self.stack(biases, rows) if any(b in self.source for b in biases) else None
        return dense(self.stack([f"{at}.{p}.weight" for p in parts], rows, columns), bias)

    def layer(self, index: int) -> Layer:
        family, names = self.family, self.family.names
        at = self.prefix + names.layer.format(index=index)
        q, kv = family.heads * family.head_dim, family.kv_heads * family.head_dim
        head_norms, normed = None, [f"{at}.{name}.weight" for name in names.head_norms]
        if normed[0] in self.source:
            of_queries, of_keys = (self.stack([name], (family.head_dim,)) for name in normed)
            head_norms = torch.cat((of_queries.expand(family.heads, -1), of_keys.expand(family.kv_heads, -1)))
        return Layer(
            qkv=self.weight(at, names.qkv, (q, kv, kv), family.hidden),
            out=self.weight(at, (names.out,), (family.hidden,), q),
            gate_up=self.weight(at, names.gate_up, (family.intermediate,) * 2, family.hidden),
            down=self.weight(at, (names.down,), (family.hidden,), family.intermediate),
            input_norm=self.stack([f"{at}.{names.input_norm}.weight"], (family.hidden,)),
            mlp_norm=self.stack([f"{at}.{names.mlp_norm}.weight"], (family.hidden,)),
            head_norms=head_norms,
        )
