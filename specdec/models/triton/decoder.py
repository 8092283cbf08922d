"""A model's pass on a GPU, by the kernels of `specdec.kernels`.

It computes the function of `eager.EagerModel`, over the same weights and the same cache. A token's logits are the same
bits for any number of tokens a row and any number of rows. Everything it is told lies on the device, so a graph can
hold it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from specdec.kernels import attention, prompts
from specdec.kernels.attention import Heads, SplitKeys
from specdec.kernels.products import Scratch, product
from specdec.kernels.tiles import MOST_ROWS, ROWS, Product, Tile, Tiles
from specdec.models.base import DECODE_ROWS, Pass
from specdec.models.eager.model import EagerModel
from specdec.models.weights.base import Weight
from specdec.models.weights.layers import Layer

_SPLITS = 32
"""At most so many programs share the keys of a sequence."""
_LEAST_KEYS = 128
_LONGEST, _LONGEST_NARROW = 2048, 256
_FORMATS = {"dense"}
"""Weight formats that `product` reads."""


def unsupported(model: EagerModel) -> str | None:
    """Why the kernels cannot run this model, or None."""
    if not attention.supported(model.family.head_dim):
        return f"heads of {model.family.head_dim}"
    if any(layer.gate_up.bias is not None for layer in model.weights.layers):
        return "biases in gated layers"
    weights = [model.weights.head, *(w for layer in model.weights.layers for w in layer.products)]
    if formats := {w.format for w in weights} - _FORMATS:
        return f"weights of format {', '.join(sorted(formats))}"
    return None


class Decoder:
    """One model's pass: `rows` sequences of up to DECODE_ROWS tokens at once, or one of up to `longest`."""

    def __init__(self, model: EagerModel, rows: int, tiles: Tiles) -> None:
        family, device = model.family, model.info.device
        self._model, self._device = model, device
        capacity = model.cache.capacity
        keys = max(_LEAST_KEYS, triton.next_power_of_2(triton.cdiv(capacity, _SPLITS)))
        self._heads = Heads(family.heads, family.kv_heads, family.head_dim, family.eps, keys)
        self._tiles = {(wanted.columns, wanted.inner): tiles.of(wanted) for wanted in products_of(model)}
        # Not with windows: see the log of 2026-11-30, "Understood: one product made of two".
        self._exact = prompts.exact(self._tiles, model.info.dtype, device) and not any(family.windows)
        self.longest = _LONGEST if self._exact else _LONGEST_NARROW
        narrow = prompts.LEAST if self._exact else _LONGEST_NARROW
        self._scratch = _scratch(self._tiles, narrow if self._exact else max(rows * DECODE_ROWS, narrow), device)
        splits = triton.cdiv(capacity, keys)
        blocks = max(rows * self._heads.blocks(DECODE_ROWS), self._heads.blocks(narrow))
        self._parts = SplitKeys.on(device, blocks, splits, family.head_dim)

    @property
    def nbytes(self) -> int:
        held = [self._scratch.shares, self._scratch.squares, self._parts.parts, self._parts.weights]
        return sum(t.nbytes for t in held)

    def __call__(
        self,
        tokens: Tensor,
        slots: Tensor,
        starts: Tensor,
        keep: Tensor | None = None,
        *,
        logits: bool = True,
        features: tuple[int, ...] = (),
    ) -> Pass:
        """See `base.DeviceModel.decode`; no logits without `logits`."""
        batch, count = tokens.shape
        weights, family = self._model.weights, self._model.family
        x = F.embedding(tokens.reshape(-1), weights.embedding)  # [R, H], the residual stream
        outputs: dict[int, Tensor] = {}
        for index, layer in enumerate(weights.layers):
            if index in features:
                outputs[index] = x.clone()  # it is added to in place
            self._attention(index, layer, x, slots, starts)
            hidden = self._fresh(x, layer.gate_up.columns // 2, x.dtype)
            self._product(x, layer.gate_up, hidden, norm=layer.mlp_norm, gated=True)
            self._product(hidden, layer.down, x, residual=True)
        if family.layers in features:
            normed = F.rms_norm(x.float(), (family.hidden,), None, family.eps).to(x.dtype)
            outputs[family.layers] = weights.norm * normed
        wanted = torch.cat([outputs[i].view(batch, count, -1) for i in features], -1) if features else None
        if not logits:
            return Pass(x.new_empty((batch, 0, family.vocab), dtype=torch.float32), wanted)
        if keep is not None:
            x = x.view(batch, count, -1)[torch.arange(batch, device=self._device), keep]
        found = self._fresh(x, weights.head.columns, torch.float32)
        self._product(x, weights.head, found, norm=weights.norm)
        return Pass(found.view(batch, -1, weights.head.columns), wanted)

    def unembed(self, x: Tensor) -> Tensor:
        """See `base.ModelEnds.unembed`."""
        head = self._model.weights.head
        return self._product(x, head, self._fresh(x, head.columns, torch.float32))

    def _attention(self, index: int, layer: Layer, x: Tensor, slots: Tensor, starts: Tensor) -> None:
        cache, family = self._model.cache, self._model.family
        qkv = self._product(x, layer.qkv, self._fresh(x, layer.qkv.columns, x.dtype), norm=layer.input_norm)
        norms = None if layer.head_norms is None else (layer.head_norms[0], layer.head_norms[family.heads])
        given = (qkv, cache.tensor[2 * index], cache.tensor[2 * index + 1], slots, starts)
        rotary, window = (cache.rope.cos, cache.rope.sin), family.windows[index]
        if self._wide(x) and len(slots) == 1:
            found = prompts.attend(*given, rotary, self._heads, window=window, norms=norms)
        else:
            found = attention.attend(*given, rotary, self._heads, self._parts, window=window, norms=norms)
        self._product(found, layer.out, x, residual=True)

    def _fresh(self, x: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
        return torch.empty((x.shape[0], columns), dtype=dtype, device=self._device)

    def _product(
        self,
        x: Tensor,
        weight: Weight,
        out: Tensor,
        *,
        norm: Tensor | None = None,
        gated: bool = False,
        residual: bool = False,
    ) -> Tensor:
        tile, eps, bias = self._tiles[out.shape[1], x.shape[1]], self._model.family.eps, weight.bias
        if self._wide(x):
            return prompts.product(
                x, weight.tensor, out, tile, norm=norm, eps=eps, bias=bias, gated=gated, residual=residual
            )
        return product(
            x,
            weight.tensor,
            out,
            tile,
            self._scratch,
            norm=norm,
            eps=eps,
            bias=bias,
            gated=gated,
            residual=residual,
        )

    def _wide(self, x: Tensor) -> bool:
        """Whether there are rows enough for the kernels of prompts."""
        return self._exact and x.shape[0] >= prompts.LEAST


def products_of(model: EagerModel) -> list[Product]:
    """The products of a pass."""
    family, dtype = model.family, model.info.dtype
    q, kv = family.heads * family.head_dim, family.kv_heads * family.head_dim
    return [
        Product(q + 2 * kv, family.hidden, False, dtype),
        Product(family.hidden, q, False, dtype),
        Product(family.intermediate, family.hidden, True, dtype),
        Product(family.hidden, family.intermediate, False, dtype),
        Product(family.vocab, family.hidden, False, dtype),
    ]


def _scratch(tiles: dict[tuple[int, int], Tile], rows: int, device: torch.device) -> Scratch:
    """Room for every product of up to `rows` rows."""
    split = [(triton.cdiv(n, tile.columns) * tile.split, tile) for (n, _), tile in tiles.items() if tile.split > 1]
    padded = triton.cdiv(rows, MOST_ROWS) * MOST_ROWS
    elements = max((2 * programs * tile.columns * padded for programs, tile in split), default=1)
    programs = max((programs * triton.cdiv(rows, ROWS) for programs, _ in split), default=1)
    return Scratch.on(device, elements, programs)
