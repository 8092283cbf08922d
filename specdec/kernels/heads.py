"""Attention of a draft head over its own slots: like `attention.attend`, and blocks whose rows see each other.

Drafts need no particular bits, so it is plain: one kernel rotates and writes keys and values, one attends to shares of
the keys, one adds the shares up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import PRECISION
from specdec.kernels.rotary import turned
from specdec.kernels.softmax import join, scale_of, summed, weighed
from specdec.kernels.tiles import ROWS

_STEP = 64
_LEAST_KEYS, _SHARES = 256, 32
"""Keys of one program at least, and programs that share those of a sequence at most."""


@triton.jit(do_not_specialize=["count"])
def _place(
    x,
    keys,
    values,
    slots,
    starts,
    cos,
    sin,
    q_norm,
    k_norm,
    count,
    capacity,
    eps,
    QUERIES: tl.constexpr,
    KV: tl.constexpr,
    HALF: tl.constexpr,
    NORM: tl.constexpr,
    EACH: tl.constexpr,
):
    """Some heads of one row of x [B * count, (QUERIES + 2 KV) * 2 HALF]: queries are turned where they are, keys and
    values go to the cache [slots, KV, capacity, 2 HALF]."""
    row, lane = tl.program_id(0), tl.arange(0, HALF)
    head = tl.program_id(1) * EACH + tl.arange(0, EACH)
    b = row // count
    place = tl.load(starts + b) + row % count
    slot = tl.load(slots + b).to(tl.int64)
    position = tl.zeros_like(head) + place
    at = x + row.to(tl.int64) * ((QUERIES + 2 * KV) * 2 * HALF) + head * 2 * HALF
    kind = x.dtype.element_ty
    query = head < QUERIES
    if QUERIES > 0:
        q1, q2 = turned(at, q_norm, position, cos, sin, query, eps, HALF, NORM)
        tl.store(at[:, None] + lane[None, :], q1.to(kind), mask=query[:, None])
        tl.store(at[:, None] + HALF + lane[None, :], q2.to(kind), mask=query[:, None])
    key = (head >= QUERIES) & (head < QUERIES + KV)
    kept = (((slot * KV + head - QUERIES) * capacity + place) * (2 * HALF))[:, None] + lane[None, :]
    k1, k2 = turned(at, k_norm, position, cos, sin, key, eps, HALF, NORM)
    tl.store(keys + kept, k1.to(kind), mask=key[:, None])
    tl.store(keys + kept + HALF, k2.to(kind), mask=key[:, None])
    value = (head >= QUERIES + KV) & (head < QUERIES + 2 * KV)
    kept = (((slot * KV + head - QUERIES - KV) * capacity + place) * (2 * HALF))[:, None] + lane[None, :]
    v1 = tl.load(at[:, None] + lane[None, :], mask=value[:, None], other=0.0)
    v2 = tl.load(at[:, None] + HALF + lane[None, :], mask=value[:, None], other=0.0)
    tl.store(values + kept, v1, mask=value[:, None])
    tl.store(values + kept + HALF, v2, mask=value[:, None])


@triton.jit(do_not_specialize=["count"])
def _share(
    x,
    keys,
    values,
    slots,
    starts,
    parts,
    weights,
    count,
    capacity,
    each,
    scale,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    STEP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    ORDERED: tl.constexpr,
):
    """One share of `each` keys of one key/value head of one sequence, for up to ROWS of its queries."""
    GROUP: tl.constexpr = HEADS // KV
    share, block, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    shares, blocks = tl.num_programs(0), tl.num_programs(1)
    head, tile = block // (blocks // KV), block % (blocks // KV)
    start, slot = tl.load(starts + b), tl.load(slots + b).to(tl.int64)
    end, low = start + count, share * each
    if low < end:
        line, lane = tl.arange(0, ROWS), tl.arange(0, SIZE)
        index = tile * ROWS + line
        mine, position = index < GROUP * count, start + index // GROUP
        row = (b * count + index // GROUP).to(tl.int64)
        at = x + row * ((HEADS + 2 * KV) * SIZE) + (head * GROUP + index % GROUP) * SIZE
        q = tl.load(at[:, None] + lane[None, :], mask=mine[:, None], other=0.0)
        most = tl.full((ROWS,), float("-inf"), tl.float32)
        sums = tl.zeros((ROWS, STEP // 2), tl.float32)
        acc = tl.zeros((ROWS, SIZE), tl.float32)
        held = (slot * KV + head) * capacity
        for offset in range(low, tl.minimum(low + each, end), STEP):
            key = offset + tl.arange(0, STEP)
            place = ((held + key) * SIZE)[:, None] + lane[None, :]
            k = tl.load(keys + place, mask=(key < end)[:, None], other=0.0)
            v = tl.load(values + place, mask=(key < end)[:, None], other=0.0)
            last = position * 0 + end - 1 if BLOCK and not ORDERED else position
            seen = key[None, :] <= last[:, None]
            if WINDOW > 0:
                oldest = position * 0 + start - WINDOW if BLOCK else position - WINDOW + 1
                seen = seen & (key[None, :] >= oldest[:, None])
            score = tl.where(seen, tl.dot(q, tl.trans(k), input_precision=PRECISION), float("-inf"))
            most, sums, acc = weighed(score, v, scale, most, sums, acc)
        home = (b * blocks + block).to(tl.int64) * shares + share
        tl.store(parts + home * ROWS * SIZE + line[:, None] * SIZE + lane[None, :], acc)
        tl.store(weights + home * 2 * ROWS + line, most)
        tl.store(weights + home * 2 * ROWS + ROWS + line, summed(sums))


@triton.jit(do_not_specialize=["count"])
def _add(
    parts,
    weights,
    starts,
    out,
    count,
    shares,
    each,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The shares of up to ROWS queries of one key/value head, to out [B * count, HEADS * SIZE]."""
    GROUP: tl.constexpr = HEADS // KV
    block, b = tl.program_id(0), tl.program_id(1)
    blocks = tl.num_programs(0)
    head, tile = block // (blocks // KV), block % (blocks // KV)
    line, lane = tl.arange(0, ROWS), tl.arange(0, SIZE)
    index = tile * ROWS + line
    most = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, SIZE), tl.float32)
    home = (b * blocks + block).to(tl.int64) * shares
    for share in range(tl.cdiv(tl.load(starts + b) + count, each)):
        peak = tl.load(weights + (home + share) * 2 * ROWS + line)
        mass = tl.load(weights + (home + share) * 2 * ROWS + ROWS + line)
        part = tl.load(parts + (home + share) * ROWS * SIZE + line[:, None] * SIZE + lane[None, :])
        most, total, acc = join(most, total, acc, peak, mass, part)
    row = (b * count + index // GROUP).to(tl.int64)
    where = (row * (HEADS * SIZE) + (head * GROUP + index % GROUP) * SIZE)[:, None] + lane[None, :]
    tl.store(out + where, (acc / total[:, None]).to(out.dtype.element_ty), mask=(index < GROUP * count)[:, None])


@dataclass(frozen=True, slots=True)
class HeadSlots:
    """One layer of a head, and what kernels need to know of it."""

    keys: Tensor
    """[slots, G, capacity, D]"""
    values: Tensor
    rotary: tuple[Tensor, Tensor]
    """cos and sin [positions, 1, D] as in `models.rope`."""
    heads: int
    eps: float
    norms: tuple[Tensor, Tensor] | None
    """[D] of queries and keys."""
    window: int | None

    def place(self, x: Tensor, slots: Tensor, starts: Tensor, *, queries: bool) -> None:
        """Turn the queries of x [B * M, (N + 2 G) * D] and put its keys and values from `starts` [B] of `slots` [B] on;
        without `queries` x is [B * M, 2 G * D]."""
        kv, capacity, size = self.keys.shape[1:]
        wide, each = self.heads if queries else 0, 16
        norms = (x, x) if self.norms is None else self.norms
        _place[(x.shape[0], triton.cdiv(wide + 2 * kv, each))](
            x,
            self.keys,
            self.values,
            slots,
            starts,
            *self.rotary,
            *norms,
            x.shape[0] // slots.shape[0],
            capacity,
            self.eps,
            QUERIES=wide,
            KV=kv,
            HALF=size // 2,
            NORM=self.norms is not None,
            EACH=each,
        )

    def attend(self, x: Tensor, slots: Tensor, starts: Tensor, *, block: bool, ordered: bool) -> Tensor:
        """x [B * M, (N + 2 G) * D] of rows from `starts` on -> [B * M, N * D]. Rows of a `block` see each other, in
        order if `ordered`."""
        self.place(x, slots, starts, queries=True)
        batch, (kv, capacity, size) = slots.shape[0], self.keys.shape[1:]
        count = x.shape[0] // batch
        each = max(_LEAST_KEYS, triton.next_power_of_2(triton.cdiv(capacity, _SHARES)))
        shares, blocks = triton.cdiv(capacity, each), kv * triton.cdiv(self.heads // kv * count, ROWS)
        cells = batch * blocks * shares * ROWS
        parts = torch.empty(cells * size, dtype=torch.float32, device=x.device)
        weights = torch.empty(cells * 2, dtype=torch.float32, device=x.device)
        _share[(shares, blocks, batch)](
            x,
            self.keys,
            self.values,
            slots,
            starts,
            parts,
            weights,
            count,
            capacity,
            each,
            scale_of(size),
            HEADS=self.heads,
            KV=kv,
            SIZE=size,
            WINDOW=self.window or 0,
            STEP=_STEP,
            ROWS=ROWS,
            BLOCK=block,
            ORDERED=ordered,
            num_warps=4,
        )
        out = torch.empty((x.shape[0], self.heads * size), dtype=x.dtype, device=x.device)
        _add[(blocks, batch)](
            parts, weights, starts, out, count, shares, each, HEADS=self.heads, KV=kv, SIZE=size, ROWS=ROWS, num_warps=4
        )
        return out
