"""A model's pass on a GPU, by the kernels of `specdec.kernels`.

It computes the function of `eager.EagerModel`, over the same weights, with keys and values in pages. A token's logits
are the same bits for any number of tokens a row and any number of rows. Everything it is told lies on the device, so a
graph can hold it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from specdec.kernels import attention, prompt_attention, prompt_products
from specdec.kernels.attention import Heads, SplitKeys
from specdec.kernels.packed import Packed
from specdec.kernels.products import Scratch, product
from specdec.kernels.tiles import MOST_ROWS, ROWS, Product, Tile, Tiles, product_of
from specdec.models.base import DECODE_ROWS, Pass
from specdec.models.eager.model import EagerModel
from specdec.models.triton.pages import DevicePages
from specdec.models.weights.base import Weight
from specdec.models.weights.layers import Layer
from specdec.models.weights.quantized import QuantizedWeight

_PARTS_BYTES = 1 << 28
"""Of the parts of split keys, at most: rows that need more attend one after another."""
_LONGEST, _LONGEST_NARROW = 2048, 256


def unsupported(model: EagerModel) -> str | None:
    """Why the kernels cannot run this model, or None."""
    if not attention.supported(model.family.head_dim):
        return f"heads of {model.family.head_dim}"
    if any(layer.gate_up.bias is not None for layer in model.weights.layers):
        return "biases in gated layers"
    return None


class Decoder:
    """One model's pass: `rows` sequences of up to DECODE_ROWS tokens at once, or one of up to `longest`."""

    def __init__(self, model: EagerModel, pages: DevicePages, tiles: Tiles) -> None:
        family, device, rows = model.family, model.info.device, model.info.slots
        self._model, self._pages, self._device = model, pages, device
        self._heads = Heads(family.heads, family.kv_heads, family.head_dim, family.eps)
        self._tiles = {wanted: tiles.of(wanted) for wanted in products_of(model)}
        self._exact = prompt_products.exact(self._tiles, model.info.dtype, device)
        self.longest = _LONGEST if self._exact else _LONGEST_NARROW
        narrow = prompt_products.LEAST if self._exact else _LONGEST_NARROW
        self._scratch = _scratch(self._tiles, narrow if self._exact else max(rows * DECODE_ROWS, narrow), device)
        self._room = _room(self._tiles, family.vocab, device) if self._exact else None
        held = pages.layer(0)
        unpacks = self._exact and held.keys.dtype == torch.int16
        self._unpacked = prompt_attention.room_for(held, model.info.dtype) if unpacks else None
        parts = held.parts
        blocks = self._heads.blocks(DECODE_ROWS)
        each = blocks * parts * ROWS * family.head_dim * 4
        self._rows = min(rows, max(1, _PARTS_BYTES // each))
        longest = DECODE_ROWS if self._exact else _LONGEST_NARROW
        self._split = SplitKeys.on(
            device, max(self._rows * blocks, self._heads.blocks(longest)), parts, family.head_dim
        )

    @property
    def nbytes(self) -> int:
        held = [self._scratch.shares, self._scratch.squares, self._split.parts, self._split.weights, self._room]
        held += [] if self._unpacked is None else [self._unpacked.keys, self._unpacked.values]
        return sum(t.nbytes for t in held if t is not None)

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
        return Pass(self._logits(x, weights.norm).view(batch, -1, weights.head.columns), wanted)

    def unembed(self, x: Tensor) -> Tensor:
        """See `base.ModelEnds.unembed`."""
        return self._logits(x, None)

    def _logits(self, x: Tensor, norm: Tensor | None) -> Tensor:
        head = self._model.weights.head
        found = self._fresh(x, head.columns, torch.float32)
        # of a packed head the numbers are never written down: they are too many
        most = prompt_products.LEAST - 1 if isinstance(matrix(head), Packed) else max(len(x), 1)
        for at in range(0, len(x), most):
            self._product(x[at : at + most], head, found[at : at + most], norm=norm)
        return found

    def _attention(self, index: int, layer: Layer, x: Tensor, slots: Tensor, starts: Tensor) -> None:
        model, family, held = self._model, self._model.family, self._pages.layer(index)
        qkv = self._product(x, layer.qkv, self._fresh(x, layer.qkv.columns, x.dtype), norm=layer.input_norm)
        norms = None if layer.head_norms is None else (layer.head_norms[0], layer.head_norms[family.heads])
        rotary, window = (model.cache.rope.cos, model.cache.rope.sin), family.windows[index]
        count = len(x) // len(slots)
        if self._exact and len(slots) == 1 and count > DECODE_ROWS:
            found = prompt_attention.attend(
                qkv, held, slots, starts, rotary, self._heads, window=window, norms=norms, room=self._unpacked
            )
        else:
            parts = [
                attention.attend(
                    qkv[at * count : (at + self._rows) * count],
                    held,
                    slots[at : at + self._rows],
                    starts[at : at + self._rows],
                    rotary,
                    self._heads,
                    self._split,
                    window=window,
                    norms=norms,
                )
                for at in range(0, len(slots), self._rows)
            ]
            found = parts[0] if len(parts) == 1 else torch.cat(parts)
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
        held, bias = matrix(weight), weight.bias
        tile = self._tiles[product_of(held, x.shape[1], x.dtype, gated=gated)]
        how: dict[str, Any] = {"norm": norm, "eps": self._model.family.eps, "bias": bias}
        how |= {"gated": gated, "residual": residual}
        if self._exact and x.shape[0] >= prompt_products.LEAST:
            return prompt_products.product(x, held, out, tile, self._room, **how)
        return product(x, held, out, tile, self._scratch, **how)


def matrix(weight: Weight) -> Tensor | Packed:
    """What kernels read of a weight."""
    return weight.packed if isinstance(weight, QuantizedWeight) else weight.tensor


def products_of(model: EagerModel) -> list[Product]:
    """The products of a pass."""
    family, dtype, found = model.family, model.info.dtype, dict[Product, None]()
    q = family.heads * family.head_dim
    for layer in model.weights.layers:
        each = (
            (layer.qkv, family.hidden),
            (layer.out, q),
            (layer.gate_up, family.hidden),
            (layer.down, family.intermediate),
        )
        found |= {product_of(matrix(w), inner, dtype, gated=w is layer.gate_up): None for w, inner in each}
    head = product_of(matrix(model.weights.head), family.hidden, dtype, gated=False)
    return [*found, head]


def _room(tiles: dict[Product, Tile], vocab: int, device: torch.device) -> Tensor | None:
    """Where the numbers of a packed W are written down for a prompt; the head's never are."""
    sizes = [w.columns * (1 + w.gated) * w.inner for w in tiles if w.kind and w.columns != vocab]
    return torch.empty(max(sizes), dtype=next(iter(tiles)).dtype, device=device) if sizes else None


def _scratch(tiles: dict[Product, Tile], rows: int, device: torch.device) -> Scratch:
    """Room for every product of up to `rows` rows."""
    split = [
        (triton.cdiv(wanted.columns, tile.columns) * tile.split, tile)
        for wanted, tile in tiles.items()
        if tile.split > 1
    ]
    padded = triton.cdiv(rows, MOST_ROWS) * MOST_ROWS
    elements = max((2 * programs * tile.columns * padded for programs, tile in split), default=1)
    programs = max((programs * triton.cdiv(rows, ROWS) for programs, _ in split), default=1)
    return Scratch.on(device, elements, programs)
