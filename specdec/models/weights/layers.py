"""The weights of a family's layers, read from a checkpoint straight into fused tensors on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.models.families.base import Family
from specdec.models.weights.base import Weight
from specdec.models.weights.checkpoint import Source
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


def read(source: Source, family: Family, device: torch.device, dtype: torch.dtype) -> ModelWeights:
    """All weights of `family`, from the tensors of `source`."""
    reader = _Reader(source, family, device, dtype)
    table = (family.vocab,), family.hidden
    embedding = reader.stack([f"{reader.prefix}{family.names.embedding}.weight"], *table)
    layers = tuple(reader.layer(i) for i in range(family.layers))
    norm = reader.stack([f"{reader.prefix}{family.names.norm}.weight"], (family.hidden,))
    # Packing copies: of tied weights a CPU keeps two forms, one to look up and one to multiply with
    head = dense(reader.stack([f"{family.names.head}.weight"], *table) if reader.own_head() else embedding)
    return ModelWeights(embedding, layers, norm, head, reader.parameters)


class _Reader:
    def __init__(self, source: Source, family: Family, device: torch.device, dtype: torch.dtype) -> None:
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

    def own_head(self) -> bool:
        """A head in the file that differs from the embedding is the model's, as it is to transformers, whatever the
        config says."""
        family = self.family
        names = (f"{self.prefix}{family.names.embedding}.weight", f"{family.names.head}.weight")
        if family.tied and names[1] in self.source:
            shape = (family.vocab, family.hidden)
            return not torch.equal(*(self.source.get(name, shape) for name in names))
        return not family.tied

    def weight(self, at: str, parts: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        biases = [f"{at}.{p}.bias" for p in parts]
        bias = self.stack(biases, rows) if any(b in self.source for b in biases) else None
        return dense(self.stack([f"{at}.{p}.weight" for p in parts], rows, columns), bias)

    def layer(self, index: int) -> Layer:
        family, names = self.family, self.family.names
        at = self.prefix + names.layer.format(index=index)
        q, kv = family.heads * family.head_dim, family.kv_heads * family.head_dim
        return Layer(
            qkv=self.weight(at, names.qkv, (q, kv, kv), family.hidden),
            out=self.weight(at, (names.out,), (family.hidden,), q),
            gate_up=self.weight(at, names.gate_up, (family.intermediate,) * 2, family.hidden),
            down=self.weight(at, (names.down,), (family.hidden,), family.intermediate),
            input_norm=self.stack([f"{at}.{names.input_norm}.weight"], (family.hidden,)),
            mlp_norm=self.stack([f"{at}.{names.mlp_norm}.weight"], (family.hidden,)),
            head_norms=self._head_norms(at),
        )

    def _head_norms(self, at: str) -> Tensor | None:
        family = self.family
        names = [f"{at}.{name}.weight" for name in family.names.head_norms]
        if names[0] not in self.source:
            return None
        q, k = (self.stack([name], (family.head_dim,)) for name in names)
        return torch.cat((q.expand(family.heads, -1), k.expand(family.kv_heads, -1)))
