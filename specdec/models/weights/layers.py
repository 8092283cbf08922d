"""The weights of a family's layers, read from a checkpoint straight into fused tensors on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt, NotEnoughMemory, UnsupportedModel
from specdec.models.families.base import ModelFamily
from specdec.models.weights.base import Weight
from specdec.models.weights.checkpoint import TensorSource
from specdec.models.weights.dense import dense
from specdec.models.weights.few_bits import FewBitsWeight, on_cpu
from specdec.models.weights.quantized import QuantizedWeight, stacked
from specdec.models.weights.rounding import group_of, of_head, rounded
from specdec.types.load import Quantize


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

    @property
    def rounds(self) -> bool:
        """Whether a product rounds what it gets: a last bit more or less then comes out a thousand times as large."""
        return any(isinstance(w, FewBitsWeight) for layer in self.layers for w in layer.products)

    @property
    def format(self) -> str:
        """What the products' weights are in, for display: the most bytes first."""
        sizes = Counter[str]()
        for weight in (w for layer in self.layers for w in layer.products):
            sizes[_format(weight)] += weight.nbytes
        head = _format(self.head)
        return ", ".join(name for name, _ in sizes.most_common()) + ("" if head in sizes else f"; the head {head}")


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights of products are had in few bits."""

    stored: Callable[[str, tuple[int, int], torch.device], QuantizedWeight | None] | None = None
    """Reads the weight [N, K] of a module from a checkpoint that may have it in few bits (None: it has it plain)"""
    to: Quantize | None = None
    """What others are rounded to while they are read"""
    head: bool = False
    """Whether the head is rounded as well, to 8 bits"""
    remark: str = ""
    """What is to be said of it beside the formats"""
    packed: bool | None = None
    """Whether they stay so, or become plain again; None: as is faster, which on a CPU is measured"""
    no_room: NotEnoughMemory | None = None
    """Raised where a CPU would have to make them plain: its memory does not hold that"""

    def stays_on(self, device: torch.device) -> bool:
        """Whether weights on this device may stay in few bits."""
        return device.type in ("cuda", "cpu") if self.packed is None else self.packed


def _format(weight: Weight) -> str:
    if isinstance(weight, QuantizedWeight | FewBitsWeight):
        return str(weight)
    return str(weight.tensor.dtype).removeprefix("torch.")


def read(
    source: TensorSource,
    family: ModelFamily,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Quantization | None = None,
) -> ModelWeights:
    """All weights of `family`, from the tensors of `source`."""
    names, table = family.names, ((family.vocab,), family.hidden)
    reader = _LayerReader(source, family, device, dtype, quantization or Quantization())
    embedded, head = f"{reader.prefix}{names.embedding}.weight", f"{names.head}.weight"
    embedding = reader.table(f"{reader.prefix}{names.embedding}", *table)
    layers = tuple(reader.layer(i) for i in range(family.layers))
    norm = reader.stack([f"{reader.prefix}{names.norm}.weight"], (family.hidden,))
    shape = (family.vocab, family.hidden)
    own_head = not family.tied or reader.in_few_bits(names.head, shape)
    if not own_head and head in source and embedded in source:
        # one that differs from the embedding is the model's, as it is to transformers, whatever the config says
        own_head = not torch.equal(source.get(embedded, shape), source.get(head, shape))
    # packing copies: of tied weights a CPU keeps two forms, one to look up and one to multiply with
    at = names.head if own_head else f"{reader.prefix}{names.embedding}"
    product = reader.head(at, shape, None if own_head else embedding)
    return ModelWeights(embedding, layers, norm, product, reader.parameters)


class _LayerReader:
    def __init__(
        self,
        source: TensorSource,
        family: ModelFamily,
        device: torch.device,
        dtype: torch.dtype,
        quantization: Quantization,
    ) -> None:
        self.source, self.family, self.device, self.dtype = source, family, device, dtype
        self.quantization, self.packed = quantization, quantization.stays_on(device)
        self.parameters = 0
        plain = (family.names.embedding, family.names.norm)  # the embedding may be packed under other names
        self.prefix = "model." if any(f"model.{name}.weight" in source for name in plain) else ""

    def stack(self, names: Sequence[str], rows: Sequence[int], *columns: int) -> Tensor:
        """The named tensors, one below the other. Absent ones (some biases) are zero."""
        whole = torch.zeros((sum(rows), *columns), dtype=self.dtype, device=self.device)
        for name, part, count in zip(names, torch.split(whole, list(rows)), rows, strict=True):
            if name in self.source or not name.endswith(".bias"):
                held = self.source.get(name, (count, *columns))
                if held.dtype.itemsize == 1:
                    raise CheckpointCorrupt(f"{name} is stored as {held.dtype}, and nothing scales it")
                part.copy_(held)
                self.parameters += part.numel()
        return whole

    def table(self, module: str, rows: tuple[int], columns: int) -> Tensor:
        """The embedding, plain whatever it is stored in."""
        weight = self._stored(module, (*rows, columns))
        if weight is not None:
            return weight.dequantized(self.dtype)
        return self.stack([f"{module}.weight"], rows, columns)

    def weight(self, at: str, parts: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        modules = [f"{at}.{part}" for part in parts]
        biases = [f"{module}.bias" for module in modules]
        bias = self.stack(biases, rows) if any(b in self.source for b in biases) else None
        found = [self._quantized(module, (n, columns)) for module, n in zip(modules, rows, strict=True)]
        held = [weight for weight in found if weight is not None]
        if not held:
            return dense(self.stack([f"{module}.weight" for module in modules], rows, columns), bias)
        whole = stacked(held, bias) if len(held) == len(found) and self.packed else None
        if whole is not None:
            return self._in_use(whole)
        numbers = [
            self.stack([f"{module}.weight"], [n], columns) if weight is None else weight.dequantized(self.dtype)
            for module, n, weight in zip(modules, rows, found, strict=True)
        ]
        return dense(torch.cat(numbers), bias)

    def _stored(self, module: str, shape: tuple[int, int]) -> QuantizedWeight | None:
        """A module's weight where the checkpoint has it in few bits."""
        stored = self.quantization.stored
        try:
            weight = None if stored is None else stored(module, shape, self.device)
        except ValueError as error:
            raise UnsupportedModel(f"{module} has {error}") from error
        self.parameters += shape[0] * shape[1] if weight is not None else 0
        return weight

    def in_few_bits(self, module: str, shape: tuple[int, int]) -> bool:
        """Whether the checkpoint has a module's weight in few bits."""
        before = self.parameters
        found, self.parameters = self._stored(module, shape) is not None, before  # it is not taken yet
        return found

    def _quantized(self, module: str, shape: tuple[int, int]) -> QuantizedWeight | None:
        """A module's weight in few bits, as the checkpoint has it or rounded; None for a plain one."""
        weight, to = self._stored(module, shape), self.quantization.to
        if weight is not None or to is None:
            return weight
        inners = (self.family.hidden, self.family.heads * self.family.head_dim, self.family.intermediate)
        return rounded(self.stack([f"{module}.weight"], shape[:1], shape[1]), to, group_of(inners))

    def head(self, module: str, shape: tuple[int, int], tied: Tensor | None) -> Weight:
        """The head: the checkpoint's own, or that of the embedding's module, which `tied` is."""
        weight = None if tied is not None and self._measured else self._stored(module, shape)
        if weight is None:
            plain = self.stack([f"{module}.weight"], shape[:1], shape[1]) if tied is None else tied
            if not self.quantization.head:
                return dense(plain)
            weight = rounded(plain, of_head(self.quantization.to), 0)
        elif tied is not None:
            self.parameters -= shape[0] * shape[1]  # which are the embedding's
        return self._in_use(weight) if self.packed else dense(weight.dequantized(self.dtype))

    @property
    def _measured(self) -> bool:
        """Whether time decides in which form a product is."""
        return self.quantization.packed is None and self.device.type == "cpu"

    def _in_use(self, weight: QuantizedWeight) -> Weight:
        """As it is multiplied with on this device."""
        return on_cpu(weight, self.dtype, self.quantization.no_room) if self._measured else weight

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
