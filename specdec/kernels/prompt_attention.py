"""Attention of many rows, near the speed of the tensor cores, with the bits of `attention`.

A row's result is the same sums in the same order: the fixed parts of the keys are summed apart and added in their
order. Only the tile is another. What `attention` does on the way (norm, rotary positions, cache write) is a kernel of
its own here, so that the tensor cores read memory as it is.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from specdec.kernels.attention import Heads
from specdec.kernels.launch import PRECISION
from specdec.kernels.pages import PagedKeys, first_key, first_seen, halves, its_part, keep_halves, lines_of
from specdec.kernels.rotary import new_halves, turned
from specdec.kernels.softmax import join, scale_of, summed, weighed
from specdec.kernels.tiles import ROWS

_QUERIES = 64
"""Of a program, with the heads that share a key."""


@triton.jit(do_not_specialize=["count", "width"])
def _placed(
    qkv, keys, values, table, slots, starts, cos, sin, q_norm, k_norm, count, width, eps,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, PAGE: tl.constexpr, STEP: tl.constexpr,
    ROWS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Heads of qkv [count, (HEADS + 2 KV) * 2 HALF] normed and rotated: queries where they are, keys and values to
    their pages. One program takes STEP tokens of one head."""
    SIZE: tl.constexpr = 2 * HALF
    WIDE: tl.constexpr = (HEADS + 2 * KV) * SIZE
    head, first = tl.program_id(1), tl.program_id(0) * STEP
    start, slot = tl.load(starts), tl.load(slots)
    half = tl.arange(0, HALF)
    kind = qkv.dtype.element_ty
    if head < HEADS:
        for low in tl.static_range(0, STEP, ROWS):
            token = first + low + tl.arange(0, ROWS)
            keep = token < count
            at = qkv + token.to(tl.int64) * WIDE + head * SIZE
            q1, q2 = turned(at, q_norm, start + token, cos, sin, keep, eps, HALF, NORM)
            tl.store(at[:, None] + half[None, :], q1.to(kind), mask=keep[:, None])
            tl.store(at[:, None] + HALF + half[None, :], q2.to(kind), mask=keep[:, None])
    else:
        written = first + tl.arange(0, STEP)
        new, key = written < count, start + tl.minimum(written, count - 1)
        fresh = qkv + written.to(tl.int64) * WIDE + head * SIZE
        place = lines_of(table + slot * width, key, head - HEADS, KV, PAGE)
        k1, k2, v1, v2 = new_halves(fresh, k_norm, key, new, cos, sin, eps, KV, HALF, NORM)
        keep_halves(keys, place, k1, k2, new, HALF)
        keep_halves(values, place, v1, v2, new, HALF)


@triton.jit(do_not_specialize=["count", "width"])
def _unpacked(
    keys, values, table, room_keys, room_values, slots, starts, count, width,
    KV: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    """A sequence's keys and values in few bits as products take them, page after page into a room of their own."""
    number, head = tl.program_id(0), tl.program_id(1)
    start, slot = tl.load(starts), tl.load(slots)
    needed = number * PAGE < start + count
    if WINDOW > 0:
        needed = needed & ((number + 1) * PAGE > start - WINDOW + 1)
    if needed:
        inner = tl.arange(0, PAGE)
        source = lines_of(table + slot * width, number * PAGE, head, KV, PAGE) + inner
        target = (number.to(tl.int64) * KV + head) * PAGE + inner
        kind = room_keys.dtype.element_ty
        whole = inner >= 0
        k1, k2 = halves(keys, source, None, HALF, kind, False)
        v1, v2 = halves(values, source, None, HALF, kind, False)
        keep_halves(room_keys, target, k1, k2, whole, HALF)
        keep_halves(room_values, target, v1, v2, whole, HALF)


@triton.jit
def _looked(
    q, keys, values, line, key, position, end, scale, peak, mass, part, MASKED: tl.constexpr, WINDOW: tl.constexpr
):
    """`weighed`, by queries q [rows, SIZE], over the keys and values from `line` on; MASKED where some row does not see
    every key."""
    score = tl.dot(q, tl.trans(keys.load([line, 0])), input_precision=PRECISION)
    v = values.load([line, 0])
    if MASKED:
        seen = key[None, :] <= tl.minimum(position, end - 1)[:, None]
        if WINDOW > 0:
            seen = seen & (key[None, :] > position[:, None] - WINDOW)
        v = tl.where((key < end)[:, None], v, 0.0)  # what lies behind the last key may be anything
        score = tl.where(seen, score, float("-inf"))
    return weighed(score, v, scale, peak, mass, part)


@triton.jit
def _next(number, peak, mass, part, PAGE: tl.constexpr):
    """The next part, where it ends, and nothing in it so far."""
    empty = tl.full(peak.shape, float("-inf"), tl.float32)
    return number + 1, first_key(number + 2, PAGE), empty, tl.zeros_like(mass), tl.zeros_like(part)


@triton.jit(do_not_specialize=["count", "width"])
def _attend(
    qkv, keys, values, table, out, slots, starts, count, width, scale,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """As `attention._attend` over one sequence whose rows `_placed` has prepared; keys and values [pages * KV * PAGE,
    SIZE] by descriptors. One program goes through all keys of its queries, part by part."""
    GROUP: tl.constexpr = HEADS // KV
    SIZE: tl.constexpr = 2 * HALF
    WIDE: tl.constexpr = (HEADS + 2 * KV) * SIZE
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # those with the most keys first
    head = tl.program_id(1)
    start, pages = tl.load(starts), table + tl.load(slots) * width
    lane, near, index = tl.arange(0, SIZE), tl.arange(0, STEP), tile * ROWS + tl.arange(0, ROWS)
    m, mine = index // GROUP, index < GROUP * count
    position, column = start + m, (head * GROUP + index % GROUP) * SIZE
    q_at = qkv + (m.to(tl.int64) * WIDE + column)[:, None] + lane[None, :]
    q = tl.load(q_at, mask=mine[:, None], other=0.0)
    # Times one, so that it lies in registers: from shared memory the scores take longer.
    same = (lane[:, None] == lane[None, :]).to(q.dtype)
    q = tl.dot(q, same, input_precision=PRECISION).to(q.dtype)
    lowest = start + tile * ROWS // GROUP
    end = tl.minimum(start + (tile * ROWS + ROWS - 1) // GROUP + 1, start + count)
    # Keys from `clear` to `whole` are seen by every row. Only there may steps overlap: the others change the values on
    # their way to the product, and a second one must not begin before the first has read them.
    first, clear, whole = first_seen(lowest, WINDOW, STEP), 0, (lowest + 1) // STEP * STEP
    if WINDOW > 0:
        clear = tl.cdiv(tl.maximum(end - WINDOW, 0), STEP) * STEP
    clear = tl.maximum(tl.minimum(clear, end), first)
    whole = tl.maximum(tl.minimum(whole, end), clear)
    number = its_part(first, PAGE)
    border = first_key(number + 1, PAGE)
    most = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, SIZE), tl.float32)
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS, STEP // 2), tl.float32)
    part = tl.zeros((ROWS, SIZE), tl.float32)
    bounds = (first, clear, whole, end)
    for turn in tl.static_range(0 if WINDOW > 0 else 1, 3):
        for at in tl.range(bounds[turn], bounds[turn + 1], STEP, num_stages=None if turn == 1 else 1):
            if at == border:
                most, total, acc = join(most, total, acc, peak, summed(mass), part)
                number, border, peak, mass, part = _next(number, peak, mass, part, PAGE)
            line = lines_of(pages, at, head, KV, PAGE).to(tl.int32)
            peak, mass, part = _looked(
                q, keys, values, line, at + near, position, end, scale, peak, mass, part, turn != 1, WINDOW
            )
    most, total, acc = join(most, total, acc, peak, summed(mass), part)
    where = (m.to(tl.int64) * (HEADS * SIZE) + column)[:, None] + lane[None, :]
    tl.store(out + where, (acc / total[:, None]).to(out.dtype.element_ty), mask=mine[:, None])


def room_for(held: PagedKeys, dtype: torch.dtype) -> PagedKeys:
    """Where one sequence's pages lie in their order, whichever slot is its own."""
    slots, width = held.table.shape
    size = (width, *held.keys.shape[1:-1], 2 * held.keys.shape[-1])
    keys, values = (torch.empty(size, dtype=dtype, device=held.keys.device) for _ in range(2))
    order = torch.arange(width, dtype=torch.int32, device=held.keys.device)
    return PagedKeys(keys, values, order.expand(slots, width).contiguous())


def attend(
    qkv: Tensor,
    held: PagedKeys,
    slots: Tensor,
    starts: Tensor,
    rotary: tuple[Tensor, Tensor],
    heads: Heads,
    *,
    window: int | None = None,
    norms: tuple[Tensor, Tensor] | None = None,
    room: PagedKeys | None = None,
) -> Tensor:
    """What `attention.attend` does, for one sequence; the queries in `qkv` are replaced by rotated ones. Where fewer
    bits are `held`, they are unpacked into `room` (see `room_for`)."""
    count, size, width = qkv.shape[0], heads.size, held.table.shape[1]
    out = torch.empty((count, heads.heads * size), dtype=qkv.dtype, device=qkv.device)
    shape, window = heads.shape(held), window or 0
    q_norm, k_norm = (qkv, qkv) if norms is None else norms
    _placed[(triton.cdiv(count, shape["STEP"]), heads.heads + heads.kv_heads)](
        qkv,
        held.keys,
        held.values,
        held.table,
        slots,
        starts,
        *rotary,
        q_norm,
        k_norm,
        count,
        width,
        heads.eps,
        ROWS=ROWS,
        NORM=norms is not None,
        num_warps=4,
        **shape,
    )
    if room is not None:
        _unpacked[(width, heads.kv_heads)](
            held.keys,
            held.values,
            held.table,
            room.keys,
            room.values,
            slots,
            starts,
            count,
            width,
            KV=heads.kv_heads,
            HALF=size // 2,
            WINDOW=window,
            PAGE=held.page,
            num_warps=8,
        )
        held = room
    keys, values = (
        TensorDescriptor.from_tensor(t.view(-1, size), [shape["STEP"], size]) for t in (held.keys, held.values)
    )
    _attend[(triton.cdiv(heads.group * count, _QUERIES), heads.kv_heads)](
        qkv,
        keys,
        values,
        held.table,
        out,
        slots,
        starts,
        count,
        width,
        scale_of(size),
        WINDOW=window,
        ROWS=_QUERIES,
        num_warps=4 if size <= 128 else 8,
        num_stages=3 if size <= 128 else 2,
        **shape,
    )
    return out
