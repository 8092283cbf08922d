"""Products of many rows, near the speed of the tensor cores, with the bits of `products`.

A row's result is the same sums in the same order: shares of K are summed apart and added in their order. Only the tile
is another. The norm that `products` takes on its way is a kernel of its own here, so that the tensor cores read memory
as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from specdec.kernels.launch import INTERPRETED, PRECISION
from specdec.kernels.packed import Packed
from specdec.kernels.products import finish, rms_norm, scaled, weigh
from specdec.kernels.tiles import ROWS, Product, Tile
from specdec.kernels.unpack import dense, form, tensors

LEAST = 128
"""Rows from which on these kernels are faster than the narrow ones."""
_WIDE = 128
"""Rows, and columns, of a program."""
_MANY = 1024
"""Rows from which on there are programs enough of twice as many columns."""
_INNER = 64
"""Of K, at a time."""


@triton.jit(do_not_specialize=["rows"])
def _normed(x, norm, out, squares, rows, K: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, SPLIT: tl.constexpr):
    """out [rows, K] = x * norm, and the sums of squares [SPLIT, rows]. As `_product` adds them: cut in the same way."""
    share = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inner = share * tl.cdiv(K, SPLIT) + tl.arange(0, INNER)
    total = tl.zeros((ROWS,), tl.float32)
    for at in tl.range(0, K // SPLIT, INNER, num_stages=8):
        within = inner + at < K
        keep = (row < rows)[None, :] & within[:, None]
        place = row.to(tl.int64)[None, :] * K + (inner + at)[:, None]
        v, total = weigh(tl.load(x + place, mask=keep, other=0.0), norm, inner + at, within, total)
        tl.store(out + place, v, mask=keep)
    tl.store(squares + share * rows + row, total, mask=row < rows)


@triton.jit(do_not_specialize=["rows", "eps"])
def _product(
    x, weight, words, bias, out, squares, rows, eps,
    N: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
    SPLIT: tl.constexpr, NORM: tl.constexpr, BIAS: tl.constexpr, GATED: tl.constexpr, RESIDUAL: tl.constexpr,
    WORDS: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """x [rows, K] and weight [N, K] (gated: [2 N, K]) by descriptors, out [rows, N], squares [SPLIT, rows]."""
    across = tl.cdiv(rows, ROWS)
    top = tl.program_id(0) % across * ROWS
    left = tl.program_id(0) // across * COLUMNS
    row, column = top + tl.arange(0, ROWS), left + tl.arange(0, COLUMNS)
    SHARE: tl.constexpr = K // SPLIT
    acc = tl.zeros((COLUMNS, ROWS), tl.float32)
    gate = tl.zeros((COLUMNS, ROWS), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    one = tl.full((COLUMNS, ROWS), 1.0, tl.float32)
    for share in range(SPLIT):  # not unrolled: the compiler would hold the sums of all shares at once
        part = tl.zeros((COLUMNS, ROWS), tl.float32)
        other = tl.zeros((COLUMNS, ROWS), tl.float32)
        for at in range(share * SHARE, share * SHARE + SHARE, INNER):
            v = tl.trans(x.load([top, at]))
            w = weight.load([left, at])
            if GATED:
                other = tl.dot(w, v, other, input_precision=PRECISION)
                w = weight.load([N + left, at])
            part = tl.dot(w, v, part, input_precision=PRECISION)
        if NORM:
            total += tl.load(squares + share * rows + row, mask=row < rows, other=0.0)
        if SPLIT == 1:
            acc, gate = part, other
        else:
            # Not `+=`: of a share of one step the compiler would make one product with `acc`, in another order.
            acc = tl.fma(part, one, acc)
            if GATED:
                gate = tl.fma(other, one, gate)
    if SCALED == "no":
        acc, gate = scaled(acc, gate, words, words, column, N, GATED, WORDS)
    finish(acc, gate, total, bias, out, row, column, rows, eps, N, K, NORM, BIAS, GATED, RESIDUAL)


def exact(tiles: Mapping[Product, Tile], dtype: torch.dtype, device: torch.device) -> bool:
    """Whether these kernels have the bits of the narrow ones, for products in these tiles.

    That was tried on Hopper, in 16 bits. There the order in which a tensor core adds does not depend on its tile."""
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9 and dtype.itemsize == 2
    fit = all(
        wanted.inner % 8 == 0 and (tile.split == 1 or wanted.inner % (tile.split * min(_INNER, tile.inner)) == 0)
        for wanted, tile in tiles.items()
    )
    return fit and (INTERPRETED or (hopper and all(tile.columns >= 64 for tile in tiles.values())))


def product(
    x: Tensor,
    weight: Tensor | Packed,
    out: Tensor,
    tile: Tile,
    room: Tensor | None = None,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    bias: Tensor | None = None,
    gated: bool = False,
    residual: bool = False,
) -> Tensor:
    """What `products.product` does, with the bits that `tile` has there. Of a packed W the numbers are written down
    first, into `room`."""
    (rows, inner), columns = x.shape, out.shape[1]
    how, (_, words, _, order), squares = form(weight, x.dtype), tensors(weight), x
    if isinstance(weight, Packed):
        if norm is not None:
            x, norm = rms_norm(x, norm, eps), None
        if weight.order is not None:
            x = x[:, order]
        held = x.new_empty(weight.columns * inner) if room is None else room[: weight.columns * inner]
        weight = dense(weight, held.view(-1, inner))
    if norm is not None:
        squares = torch.empty((tile.split, rows), dtype=torch.float32, device=x.device)
        normed, cut = torch.empty_like(x), (triton.cdiv(rows, ROWS), tile.split)
        _normed[cut](
            x, norm, normed, squares, rows, K=inner, ROWS=ROWS, INNER=tile.inner, SPLIT=tile.split, num_warps=tile.warps
        )
        x = normed
    step, wide = min(_INNER, tile.inner), _WIDE  # all sums have to lie in registers
    if gated and tile.split > 1:
        wide //= 2
    elif not gated and tile.split == 1 and rows >= _MANY:
        wide *= 2
    _product[(triton.cdiv(columns, wide) * triton.cdiv(rows, _WIDE),)](
        TensorDescriptor.from_tensor(x, [_WIDE, step]),
        TensorDescriptor.from_tensor(weight, [wide, step]),
        words,
        x if bias is None else bias,
        out,
        squares,
        rows,
        eps,
        N=columns,
        K=inner,
        ROWS=_WIDE,
        COLUMNS=wide,
        INNER=step,
        SPLIT=tile.split,
        NORM=norm is not None,
        BIAS=bias is not None,
        GATED=gated,
        RESIDUAL=residual,
        WORDS=how["WORDS"],
        SCALED=how["SCALED"],
        num_warps=8,
        num_stages=4,
    )
    return out
