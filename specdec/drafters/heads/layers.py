"""The layers that heads are made of, in torch: what a head computes, whatever its keys and values lie in.

Plain differentiable functions of the weights, so that a head can be trained over whole sequences by the same code.

Sizes: R rows of a pass, H hidden, N query heads, G key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import Selector
from specdec.models.families.base import ModelFamily
from specdec.models.weights.base import Weight


class HeadAttention(Protocol):
    """What the rows of a pass attend to."""

    def rotate(self, x: Tensor) -> Tensor:
        """Heads [R, any, D] turned to the rows' positions."""
        ...

    def keep(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Keep keys and values [R, G, D] of layer `index`."""
        ...

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries [R, N, D] of layer `index`, over what came before and the rows' own keys and values [R, G, D], which
        are kept -> [R, N * D]."""
        ...


@dataclass(frozen=True, slots=True)
class Convolution:
    """A causal convolution over the tokens of a block, whose kernel follows from what comes in (DFlash2)."""

    base: Tensor
    """[2, taps, H], before and behind what it stands around."""
    delta: Weight
    """H -> 2 * taps * H / group"""

    def kernels(self, x: Tensor) -> Tensor:
        """Of rows [R, H]: [2, R, taps, H]."""
        taps, hidden = self.base.shape[1:]
        each = self.delta(x).view(x.shape[0], 2, taps, -1)
        return self.base.unsqueeze(1) + each.repeat_interleave(hidden // each.shape[-1], -1).transpose(0, 1)

    @staticmethod
    def apply(x: Tensor, kernel: Tensor, size: int) -> Tensor:
        """x [R, H] in blocks of `size` rows, by kernels [R, taps, H]; before a block there is nothing."""
        blocks, taps = x.view(-1, size, x.shape[-1]), kernel.shape[1]
        shifted = [F.pad(blocks, (0, 0, tap, 0))[:, :size] for tap in range(taps)]
        return (torch.stack(shifted, 2).view(x.shape[0], taps, -1) * kernel).sum(1)


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """Weights of one decoder layer."""

    q: Weight
    kv: Weight
    out: Weight
    gate_up: Weight
    down: Weight
    input_norm: Tensor
    mlp_norm: Tensor
    head_norms: tuple[Tensor, Tensor] | None
    """[D] of queries and keys."""
    convolutions: tuple[Convolution, Convolution] | None = None
    """Around attention and MLP."""
    qkv: Tensor | None = None
    """[(N + 2 G) * D, inner], of which q and kv are parts; None where they are laid out by themselves."""
    qkv_bias: Tensor | None = None


def read_layer(
    tensors: HeadTensors, at: str, family: ModelFamily, inner: int, selector: Selector | None = None
) -> HeadLayer:
    """The layer at that name, whose attention reads `inner` columns."""
    names, hidden = family.names, family.hidden
    wide, narrow = family.heads * family.head_dim, family.kv_heads * family.head_dim
    whole, bias = tensors.stack([f"{at}.{name}" for name in names.qkv], (wide, narrow, narrow), inner)
    q, kv = (
        tensors.make(whole[part], None if bias is None else bias[part]) for part in (slice(wide), slice(wide, None))
    )
    normed = [f"{at}.{name}.weight" for name in names.head_norms]
    head_norms = None
    if normed[0] in tensors:
        head_norms = (tensors.tensor(normed[0], family.head_dim), tensors.tensor(normed[1], family.head_dim))
    convolutions = None
    if selector is not None:
        read = [_convolution(tensors, f"{at}.{name}", hidden, selector) for name in ("attention_conv", "mlp_conv")]
        convolutions = (read[0], read[1])
    return HeadLayer(
        q=q,
        kv=kv,
        out=tensors.weight([f"{at}.{names.out}"], (hidden,), wide),
        gate_up=tensors.weight([f"{at}.{name}" for name in names.gate_up], (family.intermediate,) * 2, hidden),
        down=tensors.weight([f"{at}.{names.down}"], (hidden,), family.intermediate),
        input_norm=tensors.tensor(f"{at}.{names.input_norm}.weight", hidden),
        mlp_norm=tensors.tensor(f"{at}.{names.mlp_norm}.weight", hidden),
        head_norms=head_norms,
        convolutions=convolutions,
        qkv=whole if q.format == kv.format == "dense" else None,
        qkv_bias=bias,
    )


def _convolution(tensors: HeadTensors, at: str, hidden: int, selector: Selector) -> Convolution:
    base = tensors.tensor(f"{at}.base_kernel", 2, selector.taps, hidden)
    columns = 2 * selector.taps * hidden // selector.group
    return Convolution(base, tensors.weight([f"{at}.kernel_projection"], (columns,), hidden))


class HeadBody:
    """The layers of a head, one after the other."""

    def __init__(self, family: ModelFamily, layers: Sequence[HeadLayer]) -> None:
        self.family, self.layers = family, layers

    def product(
        self, x: Tensor, weight: Weight, norm: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Rows [R, K], behind `norm` if there is one, -> [R, N]."""
        found = weight(x if norm is None else self.norm(x, norm))
        return found if dtype is None else found.to(dtype)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMS norm over the last axis."""
        return F.rms_norm(x.float(), (x.shape[-1],), None, self.family.eps).to(x.dtype) * weight

    def keys_values(self, index: int, x: Tensor, rows: HeadAttention) -> tuple[Tensor, Tensor]:
        """What layer `index` keeps of rows [R, inner], which are normed already: keys and values [R, G, D]."""
        layer, family = self.layers[index], self.family
        keys, values = layer.kv(x).view(x.shape[0], 2, family.kv_heads, family.head_dim).unbind(1)
        if layer.head_norms is not None:
            keys = self.norm(keys, layer.head_norms[1])
        return rows.rotate(keys), values

    def attention(self, index: int, x: Tensor, rows: HeadAttention) -> Tensor:
        """Of rows [R, inner], which are normed already -> [R, H]."""
        layer, family = self.layers[index], self.family
        queries = layer.q(x).view(x.shape[0], family.heads, family.head_dim)
        if layer.head_norms is not None:
            queries = self.norm(queries, layer.head_norms[0])
        keys, values = self.keys_values(index, x, rows)
        return layer.out(rows.attend(index, rows.rotate(queries), keys, values))

    def mlp(self, index: int, x: Tensor) -> Tensor:
        """Of rows [R, H], which are normed already."""
        layer = self.layers[index]
        gate, up = layer.gate_up(x).chunk(2, -1)
        return layer.down(F.silu(gate) * up)

    def keep(self, index: int, x: Tensor, rows: HeadAttention) -> None:
        """Let layer `index` keep keys and values of rows [R, inner] that go no further."""
        rows.keep(index, *self.keys_values(index, x, rows))

    def add_attention(
        self, index: int, x: Tensor, inner: Tensor, rows: HeadAttention, norm: Tensor | None = None
    ) -> Tensor:
        """The residual stream [R, H] with the attention of `inner` [R, inner], behind `norm` if there is one."""
        return x + self.attention(index, inner if norm is None else self.norm(inner, norm), rows)

    def add_mlp(self, index: int, x: Tensor) -> Tensor:
        """The residual stream [R, H] with the MLP of it."""
        return x + self.mlp(index, self.norm(x, self.layers[index].mlp_norm))

    def layer(self, index: int, x: Tensor, rows: HeadAttention) -> Tensor:
        """The residual stream [R, H] through one layer."""
        return self.add_mlp(index, self.add_attention(index, x, x, rows, self.layers[index].input_norm))

    def convolved(self, index: int, x: Tensor, rows: HeadAttention, size: int) -> Tensor:
        """The same with convolutions over blocks of `size` rows around attention and MLP."""
        layer = self.layers[index]
        assert layer.convolutions is not None
        for norm, convolution in zip((layer.input_norm, layer.mlp_norm), layer.convolutions, strict=True):
            inner = self.norm(x, norm)
            before, behind = convolution.kernels(inner)
            inner = convolution.apply(inner, before, size)
            inner = self.attention(index, inner, rows) if norm is layer.input_norm else self.mlp(index, inner)
            x = x + convolution.apply(inner, behind, size)
        return x


MakeBody = Callable[[ModelFamily, Sequence[HeadLayer]], HeadBody]
