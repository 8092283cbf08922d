"""Llama, Mistral, Qwen2 and Qwen3, written for speed at a few rows.

Same function as transformers' models of these types, from the same safetensors: fused qkv and gate-up weights, one
static cache, no mask where a single row attends to all that its slot holds, and logits only for the positions asked
for. Rotary angles, norms and logits are fp32 in every precision. Nothing in a pass waits for the device. Call it
under `torch.inference_mode()`.

Sizes: B rows, M tokens each, R = B * M, H hidden, N query heads, G key/value heads, D head size, T keys, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.runners import rope
from specdec.runners.base import RunnerInfo
from specdec.runners.checkpoint import Source
from specdec.runners.linear import Linear, linear
from specdec.types import MAX_SPECULATIVE_TOKENS

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
CALL_BYTES = 1 << 19
"""What a CPU reads in the time that one more call of attention takes."""
DECODE_ROWS = MAX_SPECULATIVE_TOKENS + 1
"""Up to here a group's queries become rows of one product; above, heads are products of their own."""


def unsupported(config: Any) -> str | None:
    """What of this config the runner does not do, or None."""
    if config.model_type not in MODEL_TYPES:
        return f"model_type {config.model_type}"
    if config.hidden_act != "silu":
        return f"hidden_act {config.hidden_act}"
    if getattr(config, "quantization_config", None) is not None:
        return "quantization_config"
    parameters = config.rope_parameters
    if parameters.get("rope_type") not in rope.KINDS or parameters.get("partial_rotary_factor", 1.0) != 1.0:
        return f"rope_parameters {parameters}"
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"layer_types {sorted(set(config.layer_types))}"
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model, from its config."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    eps: float
    windows: tuple[int | None, ...]
    """Per layer: how many positions, itself included, a token attends to; None: all."""

    @classmethod
    def of(cls, config: Any) -> Shape:
        heads = config.num_attention_heads
        return cls(
            config.hidden_size, heads, config.num_key_value_heads or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            config.intermediate_size, config.vocab_size, config.rms_norm_eps, _windows(config),
        )  # fmt: skip

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads


def _windows(config: Any) -> tuple[int | None, ...]:
    window: int | None = getattr(config, "sliding_window", None)
    types: Sequence[str] | None = getattr(config, "layer_types", None)
    if types is None:
        layers = int(config.num_hidden_layers)
        return (window if config.model_type == "mistral" else None,) * layers
    return tuple(window if kind == "sliding_attention" else None for kind in types)


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one decoder layer."""

    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    input_norm: Tensor
    post_norm: Tensor
    qk_norm: Tensor | None
    """[N + G, D], Qwen3's per-head norms of queries and keys."""


class LlamaRunner:
    """One model over slots (see `base.Runner`)."""

    def __init__(
        self, shape: Shape, weights: LlamaWeights, rotary: rope.Rope, cache: Tensor, info: RunnerInfo
    ) -> None:
        self.shape, self.weights, self.rope, self.info = shape, weights, rotary, info
        self.cache = cache  # [2 * layers, slots, G, capacity, D]: layer i's keys at 2i, its values at 2i + 1
        self.kinds = tuple(dict.fromkeys(shape.windows))
        self.eps = torch.tensor(shape.eps, device=cache.device)
        self.positions = torch.arange(self.capacity, device=cache.device)

    @property
    def capacity(self) -> int:
        return self.cache.shape[3]

    def forward(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """See `base.Runner.forward`."""
        batch, count = tokens.shape
        if max(starts) + count > self.capacity:
            raise ValueError(f"positions up to {max(starts) + count}; a slot holds {self.capacity}")
        plan = self._plan(slots, starts, count)
        x = self._layers(F.embedding(tokens.reshape(-1), self.weights.embedding), plan)  # [R, H]
        if keep == 0:
            return x.new_empty((batch, 0, self.shape.vocab), dtype=torch.float32)
        if keep < count:
            x = x.view(batch, count, -1)[:, count - keep :].reshape(batch * keep, -1)
        logits = self.weights.head(self._norm(x, self.weights.norm))
        return logits.float().view(batch, keep, -1)

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `base.Runner.keys_values`."""
        return (self.cache[:, slot, :, start:end],)

    def _plan(self, slots: Sequence[int], starts: Sequence[int], count: int) -> Plan:
        if len(slots) == 1:
            return SingleRow(self, slots[0], starts[0], count)
        if self.cache.is_cuda or self._padding(slots, [s + count for s in starts]) <= CALL_BYTES * len(slots):
            return PaddedRows(self, slots, starts, count)
        return SeparateRows(self, slots, starts, count)

    def _padding(self, slots: Sequence[int], ends: Sequence[int]) -> int:
        """Bytes of a layer that rows side by side read, or copy, beyond what they hold."""
        longest = len(slots) * max(ends)
        copied = 0 if _side_by_side(slots) else longest
        return (longest - sum(ends) + copied) * 2 * self.cache[0, 0, :, 0].nbytes

    def _layers(self, x: Tensor, plan: Plan) -> Tensor:
        """The residual stream [R, H] through all layers."""
        for index, layer in enumerate(self.weights.layers):
            x = x + layer.out(self._attention(index, layer, self._norm(x, layer.input_norm), plan))
            gate, up = layer.gate_up(self._norm(x, layer.post_norm)).chunk(2, -1)
            x = x + layer.down(F.silu(gate) * up)
        return x

    def _attention(self, index: int, layer: Layer, x: Tensor, plan: Plan) -> Tensor:
        """[R, H] -> [R, N * D]"""
        shape = self.shape
        turned = shape.heads + shape.kv_heads
        qkv = layer.qkv(x).view(x.shape[0], turned + shape.kv_heads, shape.head_dim)
        qk, values = qkv[:, :turned], qkv[:, turned:]
        if layer.qk_norm is not None:
            qk = self._norm(qk, layer.qk_norm)
        qk = self.rope.rotate(qk, plan.cos, plan.sin)
        return plan.attend(index, qk[:, : shape.heads], qk[:, shape.heads :], values)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMS norm over the last axis, rounded where transformers rounds. Weights may differ per head."""
        size, wide = x.shape[-1], x.float()
        if wide.is_cuda:
            return weight * F.rms_norm(wide, (size,), None, self.shape.eps).to(x.dtype)
        # a CPU runs F.rms_norm in twelve steps
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self.eps, length, length, value=1 / size).rsqrt_()
        return (wide * scale).to(x.dtype) * weight


@dataclass(frozen=True, slots=True)
class LlamaWeights:
    """All weights of a model, as the runner wants them."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Linear

    @property
    def nbytes(self) -> int:
        each = [m for x in self.layers for m in (x.qkv, x.out, x.gate_up, x.down)]
        norms = [n for x in self.layers for n in (x.input_norm, x.post_norm, x.qk_norm) if n is not None]
        shared = getattr(self.head, "weight", None) is self.embedding
        head = 0 if shared else self.head.nbytes
        plain = [self.embedding, self.norm, *norms]
        return sum(m.nbytes for m in each) + sum(t.nbytes for t in plain) + head


class SingleRow:
    """Where one row's keys and values lie, and what it may see: views of its slot, made once for all layers."""

    def __init__(self, runner: LlamaRunner, slot: int, start: int, count: int) -> None:
        cache, end = runner.cache, start + count
        self.shape, self.count = runner.shape, count
        self.cos, self.sin = runner.rope.cos[start:end], runner.rope.sin[start:end]
        self.writes = cache[:, slot, :, start:end].unbind(0)  # of [G, M, D]
        self.reads: dict[int | None, tuple[Tensor, ...]] = {}  # of [1, G, T, D]
        self.masks: dict[int | None, Tensor | None] = {}
        for window in runner.kinds:
            first = 0 if window is None else max(0, start - window + 1)
            self.reads[window] = cache[:, slot : slot + 1, :, first:end].unbind(0)
            self.masks[window] = self._mask(runner.positions[first:end], window, cache.dtype)

    def _mask(self, keys: Tensor, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[1, 1, M, T], or with the group's queries as rows [1, 1, N / G * M, T]; None when all may be seen."""
        if self.count == 1:
            return None
        query = _for_groups(keys[-self.count :].view(1, 1, -1, 1), self.shape.group)
        return _visible(query, keys, window, dtype)

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        self.writes[2 * index].copy_(keys.transpose(0, 1))
        self.writes[2 * index + 1].copy_(values.transpose(0, 1))
        window = self.shape.windows[index]
        reads = self.reads[window]
        return _attend(
            queries.unsqueeze(0), reads[2 * index], reads[2 * index + 1], self.masks[window], self.shape
        )


class SeparateRows:
    """Rows attend one by one, each to no more than it holds. Right where a call costs less than reading what padding
    would add: on CPUs, for rows of very different lengths."""

    def __init__(self, runner: LlamaRunner, slots: Sequence[int], starts: Sequence[int], count: int) -> None:
        self.count = count
        self.rows = [SingleRow(runner, slot, start, count) for slot, start in zip(slots, starts, strict=True)]
        self.cos = torch.cat([row.cos for row in self.rows])
        self.sin = torch.cat([row.sin for row in self.rows])

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = (torch.split(x, self.count) for x in (queries, keys, values))
        each = zip(self.rows, *parts, strict=True)
        return torch.cat([row.attend(index, q, k, v) for row, q, k, v in each])


class PaddedRows:
    """All rows attend in one call, to as many keys as the longest holds. For devices where launches cost more, and
    rows of about one length."""

    def __init__(self, runner: LlamaRunner, slots: Sequence[int], starts: Sequence[int], count: int) -> None:
        cache, self.shape, self.count = runner.cache, runner.shape, count
        self.cache, self.end = cache, max(starts) + count
        self.run = slice(slots[0], slots[-1] + 1) if _side_by_side(slots) else None
        where = _to_device([list(slots), list(starts)], cache.device)  # [2, B]
        self.slots = where[0].unsqueeze(1)
        self.positions = where[1].unsqueeze(1) + runner.positions[:count]  # [B, M]
        self.cos = runner.rope.cos[self.positions].flatten(0, 1)
        self.sin = runner.rope.sin[self.positions].flatten(0, 1)
        query = _for_groups(self.positions[:, None, :, None], self.shape.group)
        keys = runner.positions[: self.end]
        self.masks = {w: _visible(query, keys, w, cache.dtype) for w in runner.kinds}

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        shape, rows = self.shape, (*self.positions.shape, self.shape.kv_heads, self.shape.head_dim)
        self.cache[2 * index][self.slots, :, self.positions] = keys.view(rows)
        self.cache[2 * index + 1][self.slots, :, self.positions] = values.view(rows)
        held = [self._held(self.cache[2 * index]), self._held(self.cache[2 * index + 1])]
        mask = self.masks[shape.windows[index]]
        return _attend(
            queries.view(*self.positions.shape, shape.heads, shape.head_dim), held[0], held[1], mask, shape
        )

    def _held(self, layer: Tensor) -> Tensor:
        """[B, G, T, D] of the rows' slots: a view where they lie side by side."""
        held = layer[:, :, : self.end]
        return held[self.run] if self.run is not None else held.index_select(0, self.slots.view(-1))


Plan = SingleRow | SeparateRows | PaddedRows


def _side_by_side(slots: Sequence[int]) -> bool:
    return list(slots) == list(range(slots[0], slots[-1] + 1))


def _to_device(values: list[list[int]], device: torch.device) -> Tensor:
    """A tensor of `values` without waiting for the device."""
    if device.type != "cuda":
        return torch.tensor(values, device=device)
    return torch.tensor(values, pin_memory=True).to(device, non_blocking=True)


def _visible(query: Tensor, keys: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where a key's position may be seen from the query's, else -inf."""
    hidden = keys > query
    if window is not None:
        hidden |= keys <= query - window
    return torch.where(hidden, float("-inf"), torch.zeros((), dtype=dtype, device=hidden.device))


def _for_groups(query: Tensor, group: int) -> Tensor:
    """Positions [B, 1, M, 1] -> [B, 1, N / G * M, 1] where a group's queries are rows of one product."""
    return query.repeat(1, 1, group, 1) if _as_rows(query.shape[2], group) else query


def _as_rows(count: int, group: int) -> bool:
    return group > 1 and 1 < count <= DECODE_ROWS


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, shape: Shape) -> Tensor:
    """Queries [B, M, N, D] over keys and values [B, G, T, D] -> [R, N * D]."""
    batch, count = queries.shape[:2]
    group, size = shape.group, shape.head_dim
    if not _as_rows(count, group):
        found = F.scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, attn_mask=mask, enable_gqa=group > 1
        )
        return found.transpose(1, 2).reshape(batch * count, -1)
    rows = queries.view(batch, count, shape.kv_heads, group, size).permute(0, 2, 3, 1, 4)
    rows = rows.reshape(batch, shape.kv_heads, group * count, size)
    found = F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
    found = found.view(batch, shape.kv_heads, group, count, size).permute(0, 3, 1, 2, 4)
    return found.reshape(batch * count, -1)


class _Reader:
    """Reads tensors of a checkpoint straight into fused ones on the device."""

    def __init__(self, weights: Source, device: torch.device, dtype: torch.dtype) -> None:
        self.weights, self.device, self.dtype = weights, device, dtype
        self.parameters = 0
        self.prefix = "model." if "model.embed_tokens.weight" in weights else ""

    def stack(self, names: Sequence[str], rows: Sequence[int], *columns: int) -> Tensor:
        """The named tensors, one below the other. Absent ones (some biases) are zero."""
        whole = torch.zeros((sum(rows), *columns), dtype=self.dtype, device=self.device)
        for name, part, count in zip(names, torch.split(whole, list(rows)), rows, strict=True):
            if name in self.weights or not name.endswith(".bias"):
                part.copy_(self.weights.get(name, (count, *columns)))
                self.parameters += part.numel()
        return whole

    def linear(self, at: str, parts: Sequence[str], rows: Sequence[int], columns: int) -> Linear:
        biases = [f"{at}.{p}.bias" for p in parts]
        bias = self.stack(biases, rows) if any(b in self.weights for b in biases) else None
        return linear(self.stack([f"{at}.{p}.weight" for p in parts], rows, columns), bias)

    def layer(self, index: int, shape: Shape) -> Layer:
        at = f"{self.prefix}layers.{index}"
        q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        return Layer(
            qkv=self.linear(f"{at}.self_attn", ("q_proj", "k_proj", "v_proj"), (q, kv, kv), shape.hidden),
            out=self.linear(f"{at}.self_attn", ("o_proj",), (shape.hidden,), q),
            gate_up=self.linear(
                f"{at}.mlp", ("gate_proj", "up_proj"), (shape.intermediate,) * 2, shape.hidden
            ),
            down=self.linear(f"{at}.mlp", ("down_proj",), (shape.hidden,), shape.intermediate),
            input_norm=self.stack([f"{at}.input_layernorm.weight"], (shape.hidden,)),
            post_norm=self.stack([f"{at}.post_attention_layernorm.weight"], (shape.hidden,)),
            qk_norm=self._qk_norm(at, shape),
        )

    def _qk_norm(self, at: str, shape: Shape) -> Tensor | None:
        names = [f"{at}.self_attn.q_norm.weight", f"{at}.self_attn.k_norm.weight"]
        if names[0] not in self.weights:
            return None
        q, k = (self.stack([name], (shape.head_dim,)) for name in names)
        return torch.cat((q.expand(shape.heads, -1), k.expand(shape.kv_heads, -1)))

    def model(self, shape: Shape, tied: bool) -> LlamaWeights:
        table = (shape.vocab,), shape.hidden
        embedding = self.stack([f"{self.prefix}embed_tokens.weight"], *table)
        layers = tuple(self.layer(i, shape) for i in range(len(shape.windows)))
        norm = self.stack([f"{self.prefix}norm.weight"], (shape.hidden,))
        # Packing copies: of tied weights a CPU keeps two forms, one to look up and one to multiply with
        head = linear(self.stack(["lm_head.weight"], *table) if self._own_head(table, tied) else embedding)
        return LlamaWeights(embedding, layers, norm, head)

    def _own_head(self, table: tuple[tuple[int], int], tied: bool) -> bool:
        """A head in the file that differs from the embedding is the model's, as it is to transformers, whatever the
        config says."""
        shape = (*table[0], table[1])
        names = (f"{self.prefix}embed_tokens.weight", "lm_head.weight")
        if tied and names[1] in self.weights:
            return not torch.equal(*(self.weights.get(name, shape) for name in names))
        return not tied


def load(
    weights: Source,
    config: Any,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    context: int,
    slots: int,
    spare: int = 0,
) -> LlamaRunner:
    """A runner for a config that is not `unsupported`, with the tensors of `weights`. `spare`: slots of the cache
    beside those that callers use."""
    shape = Shape.of(config)
    reader = _Reader(weights, device, dtype)
    model = reader.model(shape, bool(config.tie_word_embeddings))
    capacity = context + MAX_SPECULATIVE_TOKENS + 1
    size = (2 * len(shape.windows), slots + spare, shape.kv_heads, capacity, shape.head_dim)
    cache = torch.zeros(size, dtype=dtype, device=device)
    info = RunnerInfo(
        name=name, architecture=(config.architectures or [config.model_type])[0], kind="llama", mode="eager",
        vocab_size=shape.vocab, context=context, slots=slots, device=device, dtype=dtype,
        parameters=reader.parameters, weight_bytes=model.nbytes, cache_bytes=cache.nbytes, can_rollback=True,
    )  # fmt: skip
    return LlamaRunner(shape, model, rope.Rope(config, shape.head_dim, capacity, device), cache, info)
