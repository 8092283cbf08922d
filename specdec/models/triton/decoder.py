"""A Llama-family model's pass on a GPU, by the kernels of `specdec.kernels`.

It computes the function of `llama.LlamaRunner`, over the same weights and the same cache. A token's logits are the same
bits for any number of tokens a row and any number of rows. Everything it is told lies on the device, so a graph can
hold it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from specdec.kernels import attention
from specdec.kernels.attention import Heads, Parts
from specdec.kernels.products import Scratch, product
from specdec.kernels.tiles import MOST_ROWS, ROWS, Product, Tile, Tiles
from specdec.models.weights.linear import DenseLinear, Linear
from specdec.models.eager.model import DECODE_ROWS, Layer, LlamaRunner

_SPLITS = 32
"""At most so many programs share the keys of a sequence."""
_LEAST_KEYS = 128


def unsupported(runner: LlamaRunner) -> str | None:
    """Why the kernels cannot run this model, or None."""
    if not attention.supported(runner.shape.head_dim):
        return f"heads of {runner.shape.head_dim}"
    if any(_dense(layer.gate_up).bias is not None for layer in runner.weights.layers):
        return "biases in gated layers"
    return None


class Decoder:
    """One model's pass: `rows` sequences of up to DECODE_ROWS tokens at once, or one of up to `tokens`."""

    def __init__(self, runner: LlamaRunner, rows: int, tokens: int, tiles: Tiles) -> None:
        shape, device = runner.shape, runner.info.device
        self._runner, self._device = runner, device
        keys = max(_LEAST_KEYS, triton.next_power_of_2(triton.cdiv(runner.capacity, _SPLITS)))
        self._heads = Heads(shape.heads, shape.kv_heads, shape.head_dim, shape.eps, keys)
        self._tiles = {(wanted.columns, wanted.inner): tiles.of(wanted) for wanted in products_of(runner)}
        self._scratch = _scratch(self._tiles, max(rows * DECODE_ROWS, tokens), device)
        splits = triton.cdiv(runner.capacity, keys)
        blocks = max(rows * self._heads.blocks(DECODE_ROWS), self._heads.blocks(tokens))
        self._parts = Parts.on(device, blocks, splits, shape.head_dim)

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
    ) -> Tensor:
        """tokens [B, M] int64 of rows in slots [B] int32 at positions starts [B] int32 on. Returns fp32 logits
        [B, M, V]; [B, 1, V] after the token keep[b] of each row; none without `logits`."""
        batch, count = tokens.shape
        weights = self._runner.weights
        x = F.embedding(tokens.reshape(-1), weights.embedding)  # [R, H], the residual stream
        for index, layer in enumerate(weights.layers):
            self._attention(index, layer, x, slots, starts)
            hidden = self._fresh(x, layer.gate_up.columns // 2, x.dtype)
            self._product(x, layer.gate_up, hidden, norm=layer.post_norm, gated=True)
            self._product(hidden, layer.down, x, residual=True)
        if not logits:
            return x.new_empty((batch, 0, self._runner.shape.vocab), dtype=torch.float32)
        if keep is not None:
            x = x.view(batch, count, -1)[torch.arange(batch, device=self._device), keep]
        found = self._fresh(x, weights.head.columns, torch.float32)
        return self._product(x, weights.head, found, norm=weights.norm).view(batch, -1, weights.head.columns)

    def _attention(self, index: int, layer: Layer, x: Tensor, slots: Tensor, starts: Tensor) -> None:
        runner, shape = self._runner, self._runner.shape
        qkv = self._product(x, layer.qkv, self._fresh(x, layer.qkv.columns, x.dtype), norm=layer.input_norm)
        norms = None if layer.qk_norm is None else (layer.qk_norm[0], layer.qk_norm[shape.heads])
        found = attention.attend(
            qkv, runner.cache[2 * index], runner.cache[2 * index + 1], slots, starts, (runner.rope.cos,
            runner.rope.sin), self._heads, self._parts, window=shape.windows[index], norms=norms,
        )  # fmt: skip
        self._product(found, layer.out, x, residual=True)

    def _fresh(self, x: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
        return torch.empty((x.shape[0], columns), dtype=dtype, device=self._device)

    def _product(
        self, x: Tensor, linear: Linear, out: Tensor, *, norm: Tensor | None = None, gated: bool = False,
        residual: bool = False,
    ) -> Tensor:  # fmt: skip
        dense = _dense(linear)
        return product(
            x, dense.weight, out, self._tiles[out.shape[1], x.shape[1]], self._scratch, norm=norm,
            eps=self._runner.shape.eps, bias=dense.bias, gated=gated, residual=residual,
        )  # fmt: skip


def _dense(linear: Linear) -> DenseLinear:
    assert isinstance(linear, DenseLinear)
    return linear


def products_of(runner: LlamaRunner) -> list[Product]:
    """The products of a pass."""
    shape, dtype = runner.shape, runner.info.dtype
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return [
        Product(q + 2 * kv, shape.hidden, False, dtype), Product(shape.hidden, q, False, dtype),
        Product(shape.intermediate, shape.hidden, True, dtype), Product(shape.hidden, shape.intermediate, False, dtype),
        Product(shape.vocab, shape.hidden, False, dtype),
    ]  # fmt: skip


def _scratch(tiles: dict[tuple[int, int], Tile], rows: int, device: torch.device) -> Scratch:
    """Room for every product of up to `rows` rows."""
    split = [
        (triton.cdiv(n, tile.columns) * tile.split, tile) for (n, _), tile in tiles.items() if tile.split > 1
    ]
    padded = triton.cdiv(rows, MOST_ROWS) * MOST_ROWS
    elements = max((2 * programs * tile.columns * padded for programs, tile in split), default=1)
    programs = max((programs * triton.cdiv(rows, ROWS) for programs, _ in split), default=1)
    return Scratch.on(device, elements, programs)
