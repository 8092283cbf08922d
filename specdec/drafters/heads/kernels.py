"""The layers of a head by kernels: the function of `layers.HeadBody` in few launches, for a few rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from specdec.drafters.heads.cache import CachedRows, HeadCache
from specdec.drafters.heads.layers import HeadAttention, HeadBody, HeadLayer
from specdec.kernels import attention, products
from specdec.kernels.heads import HeadSlots
from specdec.kernels.products import Scratch
from specdec.kernels.tiles import MOST_ROWS, ROWS, Product, Tile, Tiles
from specdec.models.families.base import ModelFamily
from specdec.models.weights.base import Weight


def supported(family: ModelFamily, layers: Sequence[HeadLayer]) -> bool:
    """Whether kernels can run these layers."""
    plain = all(layer.qkv is not None and layer.gate_up.bias is None for layer in layers)
    return attention.supported(family.head_dim) and plain


class KernelBody(HeadBody):
    """Up to `rows` rows by kernels, more by torch. Rows are those of `CachedRows`, and residual streams are added to in
    place."""

    def __init__(self, family: ModelFamily, layers: Sequence[HeadLayer], rows: int, tiles: Tiles) -> None:
        super().__init__(family, layers)
        self._rows, self._tiles = rows, tiles
        self._known: dict[tuple[int, int, bool], Tile] = {}
        self._scratch: list[Scratch] = []
        """The last one is in use; graphs may still hold those before it."""

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """See `HeadBody.norm`."""
        return F.rms_norm(x, (x.shape[-1],), weight, self.family.eps)

    def product(
        self, x: Tensor, weight: Weight, norm: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `HeadBody.product`."""
        if x.shape[0] > self._rows or weight.format != "dense":
            return super().product(x, weight, norm, dtype)
        out = torch.empty((x.shape[0], weight.columns), dtype=dtype or x.dtype, device=x.device)
        return self._multiply(x.contiguous(), weight.tensor, weight.bias, out, norm=norm)

    def add_attention(
        self, index: int, x: Tensor, inner: Tensor, rows: HeadAttention, norm: Tensor | None = None
    ) -> Tensor:
        """See `HeadBody.add_attention`."""
        layer = self.layers[index]
        if x.shape[0] > self._rows or not isinstance(rows, CachedRows):
            return super().add_attention(index, x, inner, rows, norm)
        return self._multiply(self._attended(index, inner, rows, norm), layer.out.tensor, layer.out.bias, x, add=True)

    def attention(self, index: int, x: Tensor, rows: HeadAttention) -> Tensor:
        """See `HeadBody.attention`."""
        if x.shape[0] > self._rows or not isinstance(rows, CachedRows):
            return super().attention(index, x, rows)
        return self.product(self._attended(index, x, rows, None), self.layers[index].out)

    def add_mlp(self, index: int, x: Tensor) -> Tensor:
        """See `HeadBody.add_mlp`."""
        layer = self.layers[index]
        if x.shape[0] > self._rows:
            return super().add_mlp(index, x)
        return self._multiply(self._gated(x, layer, layer.mlp_norm), layer.down.tensor, layer.down.bias, x, add=True)

    def mlp(self, index: int, x: Tensor) -> Tensor:
        """See `HeadBody.mlp`."""
        layer = self.layers[index]
        return super().mlp(index, x) if x.shape[0] > self._rows else self.product(self._gated(x, layer), layer.down)

    def keep(self, index: int, x: Tensor, rows: HeadAttention) -> None:
        """See `HeadBody.keep`."""
        if x.shape[0] > self._rows or not isinstance(rows, CachedRows):
            super().keep(index, x, rows)
        else:
            found = self.product(x, self.layers[index].kv)
            self._slots(index, rows).place(found, rows.slots, rows.starts, queries=False)

    def _attended(self, index: int, x: Tensor, rows: CachedRows, norm: Tensor | None) -> Tensor:
        layer = self.layers[index]
        assert layer.qkv is not None
        out = torch.empty((x.shape[0], len(layer.qkv)), dtype=x.dtype, device=x.device)
        qkv = self._multiply(x.contiguous(), layer.qkv, layer.qkv_bias, out, norm=norm)
        return self._slots(index, rows).attend(
            qkv, rows.slots, rows.starts, block=rows.block, ordered=rows.ordered(self.family.windows[index])
        )

    def _gated(self, x: Tensor, layer: HeadLayer, norm: Tensor | None = None) -> Tensor:
        out = torch.empty((x.shape[0], layer.gate_up.columns // 2), dtype=x.dtype, device=x.device)
        return self._multiply(x, layer.gate_up.tensor, None, out, norm=norm, gated=True)

    def _slots(self, index: int, rows: CachedRows) -> HeadSlots:
        cache, family = rows.cache, self.family
        return HeadSlots(
            cache.tensor[2 * index],
            cache.tensor[2 * index + 1],
            (cache.rope.cos, cache.rope.sin),
            family.heads,
            family.eps,
            self.layers[index].head_norms,
            family.windows[index],
        )

    def _multiply(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        out: Tensor,
        *,
        norm: Tensor | None = None,
        gated: bool = False,
        add: bool = False,
    ) -> Tensor:
        key = (out.shape[1], x.shape[1], gated)
        if key not in self._known:
            self._known[key] = self._tiles.of(Product(*key, x.dtype))
        tile, eps = self._known[key], self.family.eps
        scratch = self._room(tile, out.shape[1], x.device)
        return products.product(x, weight, out, tile, scratch, norm=norm, eps=eps, bias=bias, gated=gated, residual=add)

    def _room(self, tile: Tile, columns: int, device: torch.device) -> Scratch:
        """Room for the shares of every product so far."""
        programs, padded = (
            triton.cdiv(columns, tile.columns) * tile.split,
            triton.cdiv(self._rows, MOST_ROWS) * MOST_ROWS,
        )
        elements = 2 * programs * tile.columns * padded if tile.split > 1 else 1
        programs *= triton.cdiv(self._rows, ROWS) if tile.split > 1 else 1
        held = self._scratch[-1] if self._scratch else None
        if held is None or held.shares.numel() < elements or held.arrivals.numel() < programs:
            least = (1, 1) if held is None else (held.shares.numel(), held.arrivals.numel())
            held = Scratch.on(device, max(elements, least[0]), max(programs, least[1]))
            self._scratch.append(held)
        return held


def agree(fast: KernelBody, plain: HeadBody, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the first layer by kernels is that in torch, on a few rows."""
    family, layer, count = fast.family, fast.layers[0], 4
    assert layer.qkv is not None
    x = torch.linspace(-1, 1, count * family.hidden, device=device).view(count, -1).sin().to(dtype)
    inner = torch.linspace(1, -1, count * layer.qkv.shape[1], device=device).view(count, -1).cos().to(dtype)
    found: list[Tensor] = []
    for body in (fast, plain):
        at = torch.zeros(1, dtype=torch.int64, device=device)
        rows = CachedRows(HeadCache(family, 0, 2 * count, device, dtype), at, at + 1, count, block=True)
        found.append(body.add_mlp(0, body.add_attention(0, x.clone(), inner, rows)).float())
    error = (found[0] - found[1]).abs().max()
    return bool(error <= 0.05 * found[1].abs().max())
