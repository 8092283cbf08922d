"""Attention of a few rows over keys and values in pages, with what stands before it: per-head norm, rotary positions,
cache write.

The keys of a sequence are cut into parts, whose bounds depend on their positions alone: PARTS of one page, PARTS of
two, and so on. So a short sequence has parts enough for many programs, and a long one few enough to add up. Each part
is computed on its own. A program takes one key/value head of one sequence, up to ROWS of the queries that share it, and
every so many-th part; whichever program of a sequence and head ends last adds the parts up in the order of the keys.
New keys and values are taken from the product that made them, rotated, and written to their pages on the way, so nobody
waits for the write.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import INTERPRETED, dependent_launch, follow, peek, prefetch
from specdec.kernels.tiles import ROWS

PAGE = 128
"""Keys of a page."""
PARTS = tl.constexpr(16)
"""Parts of one size; the next ones are twice as large."""
STEP = 64
"""Keys looked at together."""
_PROGRAMS = 512
"""Programs of a launch, where there are parts enough: more only wait for a place."""
_DOUBLINGS = tl.constexpr(16)
"""Sizes of parts: enough for any position."""
LINE = tl.constexpr(64)
"""Elements of 16 bits that a prefetch brings."""
SUMS = tl.constexpr(8)
"""How often the sum of a row's weights is taken: what a tensor core takes."""


def part_of(key: int, page: int) -> int:
    """The part that holds a key. Counting pages from PARTS on, parts begin where floating-point numbers of as many
    fractions lie."""
    number = key // page + PARTS.value
    size = number.bit_length() - PARTS.value.bit_length()
    return size * PARTS.value + (number >> size) - PARTS.value


@triton.jit
def its_part(key, PAGE: tl.constexpr):
    """`part_of`, on the device."""
    number = key // PAGE + PARTS
    size = 0
    for more in tl.static_range(1, _DOUBLINGS):
        size += ((number >> more) >= PARTS).to(tl.int32)
    return size * PARTS + (number >> size) - PARTS


@triton.jit
def first_key(part, PAGE: tl.constexpr):
    """Where a part begins."""
    doubled = part // PARTS
    return (((PARTS + part - doubled * PARTS) << doubled) - PARTS) * PAGE


@triton.jit
def lines_of(pages, key, head, KV: tl.constexpr, PAGE: tl.constexpr):
    """Where a key of this head lies in the pool, counted in keys; `pages` are those of its sequence."""
    return (peek(pages + key // PAGE).to(tl.int64) * KV + head) * PAGE + key % PAGE


@triton.jit
def turned(at, weight, position, cos, sin, keep, eps, HALF: tl.constexpr, NORM: tl.constexpr):
    """The halves of heads [n, HALF] at `at` [n], normed by `weight` if they are, at rotary `position` [n]; fp32."""
    lane = tl.arange(0, HALF)
    first = tl.load(at[:, None] + lane[None, :], mask=keep[:, None], other=0.0)
    second = tl.load(at[:, None] + HALF + lane[None, :], mask=keep[:, None], other=0.0)
    kind = first.dtype
    first, second = first.to(tl.float32), second.to(tl.float32)
    if NORM:
        mean = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / (2 * HALF)
        factor = tl.rsqrt(mean + eps)[:, None]
        first = (first * factor).to(kind).to(tl.float32) * tl.load(weight + lane).to(tl.float32)[None, :]
        second = (second * factor).to(kind).to(tl.float32) * tl.load(weight + HALF + lane).to(tl.float32)[None, :]
        first, second = first.to(kind).to(tl.float32), second.to(kind).to(tl.float32)
    angle = position[:, None] * (2 * HALF) + lane[None, :]
    c = tl.load(cos + angle, mask=keep[:, None], other=0.0)
    s = tl.load(sin + angle + HALF, mask=keep[:, None], other=0.0)
    return first * c - second * s, second * c + first * s


@triton.jit
def _with_new(
    k1, k2, v, keys, values, place, fresh, k_norm, key, new, cos, sin, eps, write,
    KV: tl.constexpr, HALF: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """k1, k2 [n, HALF] and v [n, 2 HALF] with the `new` ones among them taken from the product, at `fresh` [n], and
    where the program is to `write` them, put into the pool at `place` [n]."""
    lane, half = tl.arange(0, 2 * HALF), tl.arange(0, HALF)
    n1, n2 = turned(fresh, k_norm, key, cos, sin, new, eps, HALF, NORM)
    nv = tl.load((fresh + KV * 2 * HALF)[:, None] + lane[None, :], mask=new[:, None], other=0.0)
    held = keys.dtype.element_ty
    n1, n2, nv = n1.to(k1.dtype).to(held), n2.to(k1.dtype).to(held), nv.to(held)
    if write:
        tl.store(keys + place[:, None] + half[None, :], n1, mask=new[:, None])
        tl.store(keys + place[:, None] + HALF + half[None, :], n2, mask=new[:, None])
        tl.store(values + place[:, None] + lane[None, :], nv, mask=new[:, None])
    k1, k2 = tl.where(new[:, None], n1.to(k1.dtype), k1), tl.where(new[:, None], n2.to(k1.dtype), k2)
    return k1, k2, tl.where(new[:, None], nv.to(v.dtype), v)


@triton.jit
def weighed(score, v, scale, most, total, acc, PRECISION: tl.constexpr):
    """One step of a softmax over keys that come a few at a time (Milakov and Gimelshein 2018, as in FlashAttention):
    the largest score so far, the sum of the weights (16 times, side by side), and the weighted sum of values.

    Each sum has one order for any number of queries. So the weights are added by a product, like the values, and what a
    compiler may or may not take together is said outright (`fma`).
    """
    higher = tl.maximum(most, tl.max(score, 1) * scale)
    safe = tl.where(higher == float("-inf"), 0.0, higher)
    factor = tl.full(score.shape, 1.0, tl.float32) * scale
    p = tl.exp2(tl.fma(score, factor, tl.zeros_like(score) - safe[:, None])).to(v.dtype)
    shrink = tl.exp2(most - safe)[:, None]
    ones = tl.full((score.shape[1], SUMS), 1.0, v.dtype)
    total = tl.dot(p, ones, total * shrink, input_precision=PRECISION)
    acc = tl.dot(p, v, acc * shrink, input_precision=PRECISION)
    return higher, total, acc


@triton.jit
def once(total):
    """One of the equal columns [rows, SUMS]."""
    return tl.sum(tl.where((tl.arange(0, SUMS) == 0)[None, :], total, 0.0), 1)


@triton.jit
def join(most, total, acc, peak, mass, part):
    """The softmax over some keys (the largest score, the sum of the weights, the weighted sum) and over the next."""
    higher = tl.maximum(most, peak)
    safe = tl.where(higher == float("-inf"), 0.0, higher)
    before, after = tl.exp2(most - safe), tl.exp2(peak - safe)
    total = tl.fma(mass, after, total * before)
    acc = tl.fma(part, tl.zeros_like(part) + after[:, None], acc * before[:, None])
    return higher, total, acc


@triton.jit
def _joined(parts, weights, home, active, mine, ROWS: tl.constexpr, SIZE: tl.constexpr, TOGETHER: tl.constexpr):
    """The values [ROWS, SIZE] of all `active` parts from `home` on, added in the order of their keys."""
    line = tl.arange(0, ROWS)
    cell = line[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    wanted = tl.where(mine, active, 0)
    most = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, SIZE), tl.float32)
    for first in range(0, active, TOGETHER):
        for near in tl.static_range(TOGETHER):
            there = wanted > first + near  # nothing is added for a part that is not there
            other = home + first + near
            theirs = weights + other * 2 * ROWS + line
            peak = tl.load(theirs, mask=there, other=float("-inf"), cache_modifier=".cg")
            mass = tl.load(theirs + ROWS, mask=there, other=0.0, cache_modifier=".cg")
            part = tl.load(parts + other * ROWS * SIZE + cell, mask=there[:, None], other=0.0, cache_modifier=".cg")
            most, total, acc = join(most, total, acc, peak, mass, part)
    return acc / tl.where(mine, total, 1.0)[:, None]


@triton.jit(do_not_specialize=["count", "width", "room"])  # the same code for any number of rows, so the same bits
def _attend(
    qkv, keys, values, table, out, slots, starts, cos, sin, q_norm, k_norm, parts, weights, arrivals, count, width,
    room, scale, eps,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
    TOGETHER: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """qkv [B * count, (HEADS + 2 KV) * 2 HALF], keys and values [pages, KV, PAGE, 2 HALF], table [slots, width] int32,
    out [B * count, HEADS * 2 HALF]; parts [B, blocks, room, ROWS, 2 HALF] and weights [B, blocks, room, 2, ROWS] fp32;
    arrivals [B, blocks] int32, zero before and after."""
    GROUP: tl.constexpr = HEADS // KV
    SIZE: tl.constexpr = 2 * HALF
    WIDE: tl.constexpr = (HEADS + 2 * KV) * SIZE
    block, program, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    blocks, programs = tl.num_programs(0), tl.num_programs(1)
    tiles = blocks // KV
    head, tile = block // tiles, block % tiles
    # Where rows start, their pages, and the keys in them were written long before: none waits for the kernel before.
    start, slot = tl.load(starts + b), tl.load(slots + b)
    end = start + count
    active = its_part(end - 1, PAGE) + 1
    pages = table + slot * width
    if PDL:
        early = first_key(active - 1 - program, PAGE)
        if (program < active) & (early < start):
            near = lines_of(pages, early, head, KV, PAGE) + tl.minimum(tl.arange(0, PAGE), start - early)
            lines = near[:, None] * SIZE + tl.arange(0, SIZE // LINE if SIZE > LINE else 1)[None, :] * LINE
            prefetch(keys + lines)
            prefetch(values + lines)
    follow(PDL)
    if program < active:
        lane, half, line = tl.arange(0, SIZE), tl.arange(0, HALF), tl.arange(0, ROWS)
        index = tile * ROWS + line
        m, mine = index // GROUP, index < GROUP * count
        position = start + m
        row = (b * count + m).to(tl.int64)
        at_query = qkv + row * WIDE + (head * GROUP + index % GROUP) * SIZE
        q1, q2 = turned(at_query, q_norm, position, cos, sin, mine, eps, HALF, NORM)
        kind = qkv.dtype.element_ty
        q1, q2 = q1.to(kind), q2.to(kind)
        where = (row * (HEADS * SIZE) + (head * GROUP + index % GROUP) * SIZE)[:, None] + lane[None, :]
        home = (b * blocks + block).to(tl.int64) * room
        first = 0
        if WINDOW > 0:
            first = tl.maximum(start + tile * ROWS // GROUP - WINDOW + 1, 0) // STEP * STEP
        for turn in range(program, active, programs):
            part = active - 1 - turn  # the long ones first
            low, high = tl.maximum(first_key(part, PAGE), first), tl.minimum(first_key(part + 1, PAGE), end)
            old = tl.maximum(tl.minimum(high, start // STEP * STEP), low)  # below it are no new keys
            most = tl.full((ROWS,), float("-inf"), tl.float32)
            sums = tl.zeros((ROWS, SUMS), tl.float32)
            acc = tl.zeros((ROWS, SIZE), tl.float32)
            for at in tl.range(low, old, STEP, num_stages=STAGES):
                key = at + tl.arange(0, STEP)
                place = (lines_of(pages, at, head, KV, PAGE) + tl.arange(0, STEP)) * SIZE
                k1 = tl.load(keys + place[:, None] + half[None, :]).to(kind)
                k2 = tl.load(keys + place[:, None] + HALF + half[None, :]).to(kind)
                v = tl.load(values + place[:, None] + lane[None, :]).to(kind)
                score = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
                score = tl.dot(q2, tl.trans(k2), score, input_precision=PRECISION)
                if WINDOW > 0:
                    score = tl.where(key[None, :] > position[:, None] - WINDOW, score, float("-inf"))
                most, sums, acc = weighed(score, v, scale, most, sums, acc, PRECISION)
            for at in tl.range(old, high, STEP, num_stages=1):
                key = at + tl.arange(0, STEP)
                known, new = (key < start)[:, None], (key >= start) & (key < end)
                place = (lines_of(pages, at, head, KV, PAGE) + tl.arange(0, STEP)) * SIZE
                k1 = tl.load(keys + place[:, None] + half[None, :], mask=known, other=0.0).to(kind)
                k2 = tl.load(keys + place[:, None] + HALF + half[None, :], mask=known, other=0.0).to(kind)
                v = tl.load(values + place[:, None] + lane[None, :], mask=known, other=0.0).to(kind)
                fresh = qkv + (b * count + key - start).to(tl.int64) * WIDE + (HEADS + head) * SIZE
                k1, k2, v = _with_new(
                    k1, k2, v, keys, values, place, fresh, k_norm, key, new, cos, sin, eps, tile == 0, KV, HALF, NORM
                )
                score = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
                score = tl.dot(q2, tl.trans(k2), score, input_precision=PRECISION)
                seen = key[None, :] <= position[:, None]
                if WINDOW > 0:
                    seen = seen & (key[None, :] > position[:, None] - WINDOW)
                score = tl.where(seen, score, float("-inf"))
                most, sums, acc = weighed(score, v, scale, most, sums, acc, PRECISION)
            total = once(sums)
            if active == 1:
                tl.store(out + where, (acc / total[:, None]).to(kind), mask=mine[:, None])
            else:
                cell = (home + part) * ROWS * SIZE + line[:, None] * SIZE + lane[None, :]
                tl.store(parts + cell, acc, mask=mine[:, None])
                tl.store(weights + (home + part) * 2 * ROWS + line, most, mask=mine)
                tl.store(weights + (home + part) * 2 * ROWS + ROWS + line, total, mask=mine)
        if active > 1:
            tl.debug_barrier()
            arrived = arrivals + b * blocks + block
            if tl.atomic_add(arrived, 1, sem="acq_rel") == tl.minimum(active, programs) - 1:
                found = _joined(parts, weights, home, active, mine, ROWS, SIZE, TOGETHER)
                tl.store(out + where, found.to(kind), mask=mine[:, None])
                tl.store(arrived, 0)


@dataclass(frozen=True, slots=True)
class Heads:
    """What attention needs to know of a model."""

    heads: int
    kv_heads: int
    size: int
    eps: float

    def blocks(self, count: int) -> int:
        """Programs that share a part of one sequence, for `count` tokens a row."""
        return self.kv_heads * triton.cdiv(self.heads // self.kv_heads * count, ROWS)


@dataclass(frozen=True, slots=True)
class PagedKeys:
    """One layer's keys and values."""

    keys: Tensor
    """[pages, G, page, D]"""
    values: Tensor
    table: Tensor
    """[slots, width] int32: the pages of each slot, in the order of their positions."""

    @property
    def page(self) -> int:
        """Keys of one."""
        return self.keys.shape[2]

    @property
    def parts(self) -> int:
        """Of the longest sequence."""
        return part_of(self.table.shape[1] * self.page - 1, self.page) + 1


@dataclass(frozen=True, slots=True)
class SplitKeys:
    """Where the parts of split keys meet."""

    parts: Tensor
    weights: Tensor
    arrivals: Tensor

    @classmethod
    def on(cls, device: torch.device, blocks: int, parts: int, size: int) -> SplitKeys:
        """Room for `blocks` (over all rows) of so many parts with heads of `size`."""
        cells = blocks * parts * ROWS
        return cls(
            torch.empty(cells * size, dtype=torch.float32, device=device),
            torch.empty(cells * 2, dtype=torch.float32, device=device),
            torch.zeros(blocks, dtype=torch.int32, device=device),
        )


def attend(
    qkv: Tensor,
    held: PagedKeys,
    slots: Tensor,
    starts: Tensor,
    rotary: tuple[Tensor, Tensor],
    heads: Heads,
    split: SplitKeys,
    *,
    window: int | None = None,
    norms: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """qkv [B * M, (N + 2 G) * D] of rows in slots [B] at positions starts [B] (int32) on -> [B * M, N * D].

    What is `held` is read below each row's start and written from there on; `rotary` are cos and sin [positions, 1, D]
    as in `models.rope`; `norms` are the weights [D] of queries and keys.
    """
    batch, size = slots.shape[0], heads.size
    count = qkv.shape[0] // batch
    out = torch.empty((qkv.shape[0], heads.heads * size), dtype=qkv.dtype, device=qkv.device)
    pdl = dependent_launch(qkv.device)
    q_norm, k_norm = (qkv, qkv) if norms is None else norms
    scale = size**-0.5 * 1.4426950408889634  # exp2 instead of exp
    blocks, parts = heads.blocks(count), held.parts
    programs = max(1, min(parts, _PROGRAMS // (blocks * batch)))
    _attend[(blocks, programs, batch)](
        qkv, held.keys, held.values, held.table, out, slots, starts, *rotary, q_norm, k_norm, split.parts,
        split.weights, split.arrivals, count, held.table.shape[1], parts, scale, heads.eps, HEADS=heads.heads,
        KV=heads.kv_heads, HALF=size // 2, WINDOW=window or 0, PAGE=held.page, STEP=min(STEP, held.page), ROWS=ROWS,
        NORM=norms is not None, PRECISION="ieee", STAGES=3 if size <= 128 else 2, TOGETHER=8, PDL=pdl,
        num_warps=4,
        **({"launch_pdl": True} if pdl else {}),
    )  # fmt: skip
    return out


def supported(size: int) -> bool:
    """Whether heads of this size can be attended to: tensor cores take powers of two, from 16 on."""
    return size >= 32 and size & (size - 1) == 0 and (INTERPRETED or size <= 256)
