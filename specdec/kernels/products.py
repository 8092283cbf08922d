"""y = f(x W^T) for a few rows of x, near the speed at which W can be read.

One program computes BLOCK_N columns of up to ROWS rows, over a share of the inner size if that is split. W is the left
operand of the product, so that its rows fill the tensor core and the few rows of x are the narrow side. Shares are
added by whichever program ends last, in the order of the shares, so the sum has one order for any number of rows.

What stands before and behind the product in a decoder layer is part of it: RMS norm (the sum of squares is taken along
the way, and applied at the end), bias, SiLU gate and residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import PRECISION, admit, dependent_launch, follow, prefetch, wait
from specdec.kernels.packed import Packed, parts
from specdec.kernels.tiles import MOST_ROWS, ROWS, Tile
from specdec.kernels.unpack import begins, form, group_at, scales, tensors, unpack


@triton.jit
def _arrived(
    acc, gate, total, shares, squares, arrivals, tile, share,
    ROWS: tl.constexpr, BLOCK_N: tl.constexpr, EACH: tl.constexpr, SPLIT: tl.constexpr, NORM: tl.constexpr,
    GATED: tl.constexpr,
):  # fmt: skip
    """Leave this program's share where the tile's shares meet; whether it was the last."""
    cell = tl.arange(0, BLOCK_N)[:, None] * ROWS + tl.arange(0, ROWS)[None, :]
    tl.store(shares + share * EACH + cell, acc)
    if GATED:
        tl.store(shares + share * EACH + BLOCK_N * ROWS + cell, gate)
    if NORM:
        tl.store(squares + share * ROWS + tl.arange(0, ROWS), total)
    tl.debug_barrier()
    return tl.atomic_add(arrivals + tile, 1, sem="acq_rel") == SPLIT - 1


@triton.jit
def _added(
    acc, gate, total, shares, squares,
    ROWS: tl.constexpr, BLOCK_N: tl.constexpr, EACH: tl.constexpr, SPLIT: tl.constexpr, NORM: tl.constexpr,
    GATED: tl.constexpr,
):  # fmt: skip
    """All shares of a tile, added in their order: what `acc`, `gate` and `total` are without a split."""
    cell = tl.arange(0, BLOCK_N)[:, None] * ROWS + tl.arange(0, ROWS)[None, :]
    row = tl.arange(0, ROWS)
    acc = tl.load(shares + cell, cache_modifier=".cg")
    if GATED:
        gate = tl.load(shares + BLOCK_N * ROWS + cell, cache_modifier=".cg")
    if NORM:
        total = tl.load(squares + row, cache_modifier=".cg")
    for other in tl.static_range(1, SPLIT):
        acc += tl.load(shares + other * EACH + cell, cache_modifier=".cg")
        if GATED:
            gate += tl.load(shares + other * EACH + BLOCK_N * ROWS + cell, cache_modifier=".cg")
        if NORM:
            total += tl.load(squares + other * ROWS + row, cache_modifier=".cg")
    return acc, gate, total


@triton.jit
def weigh(v, norm, inner, within, total):
    """What comes before a product whose rows are normed: v [n, rows] times the norm's weight, and its squares added to
    `total`."""
    wide = v.to(tl.float32)
    total += tl.sum(wide * wide, 0)
    return (wide * tl.load(norm + inner, mask=within, other=0.0).to(tl.float32)[:, None]).to(v.dtype), total


@triton.jit(do_not_specialize=["eps"])
def _rms_norm(x, norm, out, eps, K: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """RMS norm of a row, one a program."""
    inner = tl.arange(0, BLOCK)
    weight = tl.load(norm + inner, mask=inner < K, other=0.0).to(tl.float32)
    follow(PDL)
    at = tl.program_id(0).to(tl.int64) * K + inner
    v = tl.load(x + at, mask=inner < K, other=0.0).to(tl.float32)
    factor = tl.rsqrt(tl.sum(v * v, 0) / K + eps)
    tl.store(out + at, (v * factor * weight).to(out.dtype.element_ty), mask=inner < K)


def rms_norm(x: Tensor, norm: Tensor, eps: float) -> Tensor:
    """x [R, K] through RMS norm with this weight [K], in x's precision. Before a product with W in few bits: there the
    numbers of x are made while those of W arrive, which is work enough."""
    (rows, inner), out, pdl = x.shape, torch.empty_like(x), dependent_launch(x.device)
    block = triton.next_power_of_2(inner)
    _rms_norm[(rows,)](
        x,
        norm,
        out,
        eps,
        K=inner,
        BLOCK=block,
        PDL=pdl,
        num_warps=min(max(block // 512, 1), 16),
        **({"launch_pdl": True} if pdl else {}),
    )
    return out


@triton.jit
def _times(acc, factor):
    """acc * factor, rounded before anything is added: a compiler takes both together in one kernel and not in another,
    which are other bits."""
    return tl.fma(acc, tl.broadcast_to(factor, acc.shape), tl.zeros_like(acc))


@triton.jit
def finish(
    acc, gate, total, bias, out, row, column, rows, eps,
    N: tl.constexpr, K: tl.constexpr, NORM: tl.constexpr, BIAS: tl.constexpr, GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
):  # fmt: skip
    """What comes after a product: acc [columns, rows] to its place in `out` [rows, N]."""
    if NORM:
        factor = tl.rsqrt(total / K + eps)[None, :]
        acc = _times(acc, factor)
        gate = _times(gate, factor)
    if BIAS:
        acc += tl.load(bias + column, mask=column < N, other=0.0).to(tl.float32)[:, None]
    if GATED:
        acc *= gate * tl.sigmoid(gate)
    keep = (column < N)[:, None] & (row < rows)[None, :]
    where = row.to(tl.int64)[None, :] * N + column[:, None]
    if RESIDUAL:
        acc += tl.load(out + where, mask=keep, other=0.0).to(tl.float32)
    tl.store(out + where, acc.to(out.dtype.element_ty), mask=keep)


@triton.jit
def _dense_sums(
    x, weight, norm, acc, gate, total, row, rows, column, share,
    N: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SPLIT: tl.constexpr,
    NORM: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """A share's sums over K of W in 16 or 32 bits."""
    inner = share * tl.cdiv(K, SPLIT) + tl.arange(0, BLOCK_K)
    w_at = weight + column.to(tl.int64)[:, None] * K + inner[None, :]
    x_at = x + row[None, :] * K + inner[:, None]
    for at in range(0, K // SPLIT, BLOCK_K):
        whole = K % (SPLIT * BLOCK_K) == 0
        within = inner + at < K
        if N % BLOCK_N == 0 and whole:
            w = tl.load(w_at + at)
        else:
            w = tl.load(w_at + at, mask=(column < N)[:, None] & within[None, :], other=0.0)
        v = tl.load(x_at + at, mask=(row < rows)[None, :] & within[:, None], other=0.0)
        if NORM:
            v, total = weigh(v, norm, inner + at, within, total)
        if GATED:
            gate = tl.dot(w, v, gate, input_precision=PRECISION)
            u = tl.load(w_at + at + N * K, mask=(column < N)[:, None] & within[None, :], other=0.0)
            acc = tl.dot(u, v, acc, input_precision=PRECISION)
        else:
            acc = tl.dot(w, v, acc, input_precision=PRECISION)
    return acc, gate, total


@triton.jit
def _packed_sums(
    x,
    weight,
    words,
    more,
    order,
    acc,
    row,
    rows,
    column,
    keep,
    share,
    WIDTH: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT: tl.constexpr,
    KIND: tl.constexpr,
    CODES: tl.constexpr,
    CHUNK: tl.constexpr,
    PARTS: tl.constexpr,
    GROUP: tl.constexpr,
    WORDS: tl.constexpr,
    SHIFT: tl.constexpr,
    SCALED: tl.constexpr,
    ORDERED: tl.constexpr,
):
    """The same of W [WIDTH, K] in few bits (see `packed.Packed`), as [rows, columns]. Here x is the left operand, so
    that however many warps share its tile, each makes the numbers of columns of its own."""
    UNIT: tl.constexpr = CHUNK * PARTS
    PER: tl.constexpr = (K + UNIT - 1) // UNIT // SPLIT
    w_at = weight + column[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    for first in range(share * PER, share * PER + PER, BLOCK_K // UNIT):
        for further in tl.static_range(BLOCK_K // UNIT):
            unit = first + further
            held = tl.load(w_at + unit.to(tl.int64) * (WIDTH * CHUNK), mask=keep[:, None], other=0)
            for part in tl.static_range(PARTS):
                at = unit * UNIT + part * CHUNK
                inner = at + tl.arange(0, CHUNK)
                within = inner < K
                if ORDERED:
                    inner = tl.load(order + inner, mask=within, other=0)
                v_keep = (row < rows)[:, None] & within[None, :]
                v = tl.load(x + row[:, None] * K + inner[None, :], mask=v_keep, other=0.0)
                if begins(part, CHUNK, PARTS, GROUP):
                    group = group_at(at, K, GROUP) * WIDTH
                    scale, shift = scales(words, more, group + column, keep, WORDS, SHIFT, SCALED)
                w = unpack(held, scale, shift, part, KIND, CODES, SHIFT, SCALED, v.dtype)
                acc = tl.dot(v, tl.trans(w), acc, input_precision=PRECISION)
    return acc


@triton.jit
def scaled(acc, gate, words, more, column, N: tl.constexpr, GATED: tl.constexpr, WORDS: tl.constexpr):
    """Sums [columns, rows] of a product whose columns have one scale each."""
    keep = column < N
    scale, _ = scales(words, more, column, keep, WORDS, "no", "late")
    if GATED:
        gate = _times(gate, scale[:, None])
        scale, _ = scales(words, more, N + column, keep, WORDS, "no", "late")
    return _times(acc, scale[:, None]), gate


@triton.jit(do_not_specialize=["rows", "eps"])  # the same code for any number of rows, so the same bits
def _product(
    x, weight, words, more, order, norm, bias, out, shares, squares, arrivals, rows, eps,
    N: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    SPLIT: tl.constexpr, NORM: tl.constexpr, BIAS: tl.constexpr, GATED: tl.constexpr, RESIDUAL: tl.constexpr,
    AHEAD: tl.constexpr, PDL: tl.constexpr, KIND: tl.constexpr, CODES: tl.constexpr,
    CHUNK: tl.constexpr, PARTS: tl.constexpr, GROUP: tl.constexpr, WORDS: tl.constexpr, SHIFT: tl.constexpr,
    SCALED: tl.constexpr, ORDERED: tl.constexpr,
):  # fmt: skip
    """x [rows, K], weight [N, K] (gated: [2 N, K]), out [rows, N]; shares [tiles, SPLIT, 1 or 2, BLOCK_N, ROWS] and
    squares [tiles, SPLIT, ROWS] fp32; arrivals [tiles] int32, zero before and after."""
    across = tl.cdiv(rows, ROWS)
    tile, share = tl.program_id(0) // SPLIT, tl.program_id(0) % SPLIT
    row = tile % across * ROWS + tl.arange(0, ROWS)
    column = tile // across * BLOCK_N + tl.arange(0, BLOCK_N)
    if AHEAD > 0:
        line = share * tl.cdiv(K, SPLIT) + tl.arange(0, AHEAD) * 64
        prefetch(weight + column.to(tl.int64)[:, None] * K + line[None, :])
        if GATED:
            prefetch(weight + (column + N).to(tl.int64)[:, None] * K + line[None, :])
    wait(PDL)
    if KIND == "dense":
        admit(PDL)
    acc = tl.zeros((BLOCK_N, ROWS), tl.float32)
    gate = tl.zeros((BLOCK_N, ROWS), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    if KIND == "dense":
        acc, gate, total = _dense_sums(
            x,
            weight,
            norm,
            acc,
            gate,
            total,
            row,
            rows,
            column,
            share,
            N,
            K,
            BLOCK_N,
            BLOCK_K,
            SPLIT,
            NORM,
            GATED,
        )
    else:
        WIDTH: tl.constexpr = 2 * N if GATED else N
        WIDE: tl.constexpr = 2 * BLOCK_N if GATED else BLOCK_N
        index = tl.arange(0, WIDE)
        both = tile // across * BLOCK_N + index % BLOCK_N + index // BLOCK_N * N
        sums = tl.zeros((ROWS, WIDE), tl.float32)
        sums = _packed_sums(
            x,
            weight,
            words,
            more,
            order,
            sums,
            row,
            rows,
            both,
            both < WIDTH,
            share,
            WIDTH,
            K,
            BLOCK_K,
            SPLIT,
            KIND,
            CODES,
            CHUNK,
            PARTS,
            GROUP,
            WORDS,
            SHIFT,
            SCALED,
            ORDERED,
        )
        acc = tl.trans(sums)
        if GATED:
            gate, acc = tl.split(tl.permute(tl.reshape(acc, (2, BLOCK_N, ROWS)), (1, 2, 0)))
        admit(PDL)  # not before: programs that came early would crowd on some multiprocessors, and make them the last
    last = True
    if SPLIT > 1:
        EACH: tl.constexpr = BLOCK_N * ROWS * 2 if GATED else BLOCK_N * ROWS
        shares += tile * SPLIT * EACH
        squares += tile * SPLIT * ROWS
        last = _arrived(
            acc, gate, total, shares, squares, arrivals, tile, share, ROWS, BLOCK_N, EACH, SPLIT, NORM, GATED
        )
    if last:
        if SPLIT > 1:
            acc, gate, total = _added(acc, gate, total, shares, squares, ROWS, BLOCK_N, EACH, SPLIT, NORM, GATED)
            tl.store(arrivals + tile, 0)
        if SCALED == "no":
            acc, gate = scaled(acc, gate, words, more, column, N, GATED, WORDS)
        finish(acc, gate, total, bias, out, row, column, rows, eps, N, K, NORM, BIAS, GATED, RESIDUAL)


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where shares of split products meet. One serves all products of a stream, one after the other."""

    shares: Tensor
    squares: Tensor
    arrivals: Tensor

    @classmethod
    def on(cls, device: torch.device, elements: int, programs: int) -> Scratch:
        """Room for `elements` fp32 of shares, computed by `programs` programs."""
        return cls(
            torch.empty(elements, dtype=torch.float32, device=device),
            torch.empty(programs * ROWS, dtype=torch.float32, device=device),
            torch.zeros(programs, dtype=torch.int32, device=device),
        )


def product(
    x: Tensor,
    weight: Tensor | Packed,
    out: Tensor,
    tile: Tile,
    scratch: Scratch,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    bias: Tensor | None = None,
    gated: bool = False,
    residual: bool = False,
) -> Tensor:
    """Fill `out` [R, N] with x [R, K] W^T, W [N, K]; in out's precision, summed in fp32.

    `norm` [K]: x goes through RMS norm with this weight first. `gated`: W is [2 N, K], and out = silu(x W1^T) * (x
    W2^T). `residual`: added to what `out` holds.
    """
    rows, inner = x.shape
    columns = out.shape[1]
    if norm is not None and isinstance(weight, Packed):
        x, norm = rms_norm(x, norm, eps), None
    wide = min(max(ROWS, triton.next_power_of_2(rows)), MOST_ROWS)
    tiles = triton.cdiv(columns, tile.columns) * triton.cdiv(rows, wide)
    pdl = dependent_launch(x.device)
    plain = isinstance(weight, Tensor)
    width = 8 * x.element_size() if isinstance(weight, Tensor) else 16 // parts(weight.kind)
    _product[(tiles * tile.split,)](
        x, *tensors(weight), x if norm is None else norm, x if bias is None else bias, out,
        scratch.shares, scratch.squares, scratch.arrivals, rows, eps,
        N=columns, K=inner, ROWS=wide, BLOCK_N=tile.columns, BLOCK_K=tile.inner, SPLIT=tile.split,
        NORM=norm is not None, BIAS=bias is not None, GATED=gated, RESIDUAL=residual,
        AHEAD=tile.ahead if pdl and plain else 0, PDL=pdl, **form(weight, x.dtype),
        num_warps=tile.warps_for(wide), num_stages=tile.stages_for(wide, gated, x.element_size(), width),
        **({"launch_pdl": True} if pdl else {}),
    )  # fmt: skip
    return out
