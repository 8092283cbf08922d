"""Attention of a few rows over the slot cache, with what stands before it: per-head norm, rotary positions, cache
write.

A program takes one key/value head of one sequence, up to ROWS of the queries that share it, and KEYS of the keys, a
number that never changes; whichever program of a sequence and head ends last adds up the parts in the order of the
keys. New keys and values are taken from the product that made them, rotated, and written to the cache on the way, so
nobody waits for the write.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import INTERPRETED, dependent_launch, follow, prefetch
from specdec.kernels.tiles import ROWS

STEP = 64
"""Keys looked at together."""
LINE = tl.constexpr(64)
"""Elements of 16 bits that a prefetch brings."""
SUMS = tl.constexpr(8)
"""How often the sum of a row's weights is taken: what a tensor core takes."""


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
    where the program is to `write` them, put into the cache at `place` [n]."""
    lane, half = tl.arange(0, 2 * HALF), tl.arange(0, HALF)
    n1, n2 = turned(fresh, k_norm, key, cos, sin, new, eps, HALF, NORM)
    n1, n2 = n1.to(k1.dtype), n2.to(k1.dtype)
    nv = tl.load((fresh + KV * 2 * HALF)[:, None] + lane[None, :], mask=new[:, None], other=0.0)
    if write:
        tl.store(keys + place[:, None] + half[None, :], n1, mask=new[:, None])
        tl.store(keys + place[:, None] + HALF + half[None, :], n2, mask=new[:, None])
        tl.store(values + place[:, None] + lane[None, :], nv, mask=new[:, None])
    return tl.where(new[:, None], n1, k1), tl.where(new[:, None], n2, k2), tl.where(new[:, None], nv, v)


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
def _joined(parts, weights, home, active, ROWS: tl.constexpr, SIZE: tl.constexpr):
    """The values [ROWS, SIZE] of all `active` parts from `home` on, added in the order of their keys."""
    cell = tl.arange(0, ROWS)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    most = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, SIZE), tl.float32)
    for other in range(active):
        theirs = weights + (home + other) * 2 * ROWS + tl.arange(0, ROWS)
        peak = tl.load(theirs, cache_modifier=".cg")
        mass = tl.load(theirs + ROWS, cache_modifier=".cg")
        part = tl.load(parts + (home + other) * ROWS * SIZE + cell, cache_modifier=".cg")
        most, total, acc = join(most, total, acc, peak, mass, part)
    return acc / total[:, None]


@triton.jit(do_not_specialize=["count"])  # the same code for any number of rows, so the same bits
def _attend(
    qkv, keys, values, out, slots, starts, cos, sin, q_norm, k_norm, parts, weights, arrivals, count, scale, eps,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, CAPACITY: tl.constexpr, WINDOW: tl.constexpr,
    KEYS: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr, PRECISION: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """qkv [B * count, (HEADS + 2 KV) * 2 HALF], keys and values [slots, KV, CAPACITY, 2 HALF], out [B * count, HEADS *
    2 HALF]; parts [B, blocks, splits, ROWS, 2 HALF] and weights [B, blocks, splits, 2, ROWS] fp32; arrivals [B, blocks]
    int32, zero before and after."""
    GROUP: tl.constexpr = HEADS // KV
    SIZE: tl.constexpr = 2 * HALF
    WIDE: tl.constexpr = (HEADS + 2 * KV) * SIZE
    split, block, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    blocks, splits = tl.num_programs(1), tl.num_programs(0)
    tiles = blocks // KV
    head, tile = block // tiles, block % tiles
    # Where rows start, and the keys below, were written long before: they need not wait for the kernel before.
    start, slot = tl.load(starts + b), tl.load(slots + b).to(tl.int64)
    end = start + count
    low = split * KEYS
    cached = (slot * KV + head) * CAPACITY * SIZE
    if PDL:
        if low < start:
            early = cached + tl.minimum(low + tl.arange(0, KEYS), start).to(tl.int64)[:, None] * SIZE
            lines = tl.arange(0, SIZE // LINE if SIZE > LINE else 1)[None, :] * LINE
            prefetch(keys + early + lines)
            prefetch(values + early + lines)
    follow(PDL)
    if low < end:
        lane, half = tl.arange(0, SIZE), tl.arange(0, HALF)
        index = tile * ROWS + tl.arange(0, ROWS)
        m, mine = index // GROUP, index < GROUP * count
        position = start + m
        row = (b * count + m).to(tl.int64)
        at = qkv + row * WIDE + (head * GROUP + index % GROUP) * SIZE
        q1, q2 = turned(at, q_norm, position, cos, sin, mine, eps, HALF, NORM)
        kind = qkv.dtype.element_ty
        q1, q2 = q1.to(kind), q2.to(kind)
        most = tl.full((ROWS,), float("-inf"), tl.float32)
        sums = tl.zeros((ROWS, SUMS), tl.float32)
        acc = tl.zeros((ROWS, SIZE), tl.float32)
        for offset in range(0, KEYS, STEP):
            key = low + offset + tl.arange(0, STEP)
            if low + offset < end:
                old, new = key < start, (key >= start) & (key < end)
                place = cached + key.to(tl.int64) * SIZE
                k1 = tl.load(keys + place[:, None] + half[None, :], mask=old[:, None], other=0.0)
                k2 = tl.load(keys + place[:, None] + HALF + half[None, :], mask=old[:, None], other=0.0)
                v = tl.load(values + place[:, None] + lane[None, :], mask=old[:, None], other=0.0)
                if low + offset + STEP > start:
                    fresh = qkv + (b * count + key - start).to(tl.int64) * WIDE + (HEADS + head) * SIZE
                    write = tile == 0
                    k1, k2, v = _with_new(
                        k1, k2, v, keys, values, place, fresh, k_norm, key, new, cos, sin, eps, write, KV, HALF, NORM
                    )
                score = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
                score = tl.dot(q2, tl.trans(k2), score, input_precision=PRECISION)
                seen = key[None, :] <= position[:, None]
                if WINDOW > 0:
                    seen = seen & (key[None, :] > position[:, None] - WINDOW)
                score = tl.where(seen, score, float("-inf"))
                most, sums, acc = weighed(score, v, scale, most, sums, acc, PRECISION)
        total = once(sums)
        where = (row * (HEADS * SIZE) + (head * GROUP + index % GROUP) * SIZE)[:, None] + lane[None, :]
        active = tl.cdiv(end, KEYS)
        if active == 1:
            tl.store(out + where, (acc / total[:, None]).to(kind), mask=mine[:, None])
        else:
            home = (b * blocks + block).to(tl.int64) * splits
            line = tl.arange(0, ROWS)
            tl.store(parts + (home + split) * ROWS * SIZE + line[:, None] * SIZE + lane[None, :], acc)
            tl.store(weights + (home + split) * 2 * ROWS + line, most)
            tl.store(weights + (home + split) * 2 * ROWS + ROWS + line, total)
            tl.debug_barrier()
            if tl.atomic_add(arrivals + b * blocks + block, 1, sem="acq_rel") == active - 1:
                found = _joined(parts, weights, home, active, ROWS, SIZE)
                tl.store(out + where, found.to(kind), mask=mine[:, None])
                tl.store(arrivals + b * blocks + block, 0)


@dataclass(frozen=True, slots=True)
class Heads:
    """What attention needs to know of a model."""

    heads: int
    kv_heads: int
    size: int
    eps: float
    keys: int
    """Keys of one program."""

    def blocks(self, count: int) -> int:
        """Programs that share the keys of one sequence, for `count` tokens a row."""
        return self.kv_heads * triton.cdiv(self.heads // self.kv_heads * count, ROWS)


@dataclass(frozen=True, slots=True)
class SplitKeys:
    """Where the parts of split keys meet."""

    parts: Tensor
    weights: Tensor
    arrivals: Tensor

    @classmethod
    def on(cls, device: torch.device, blocks: int, splits: int, size: int) -> SplitKeys:
        """Room for `blocks` (over all rows) of `splits` parts with heads of `size`."""
        cells = blocks * splits * ROWS
        return cls(
            torch.empty(cells * size, dtype=torch.float32, device=device),
            torch.empty(cells * 2, dtype=torch.float32, device=device),
            torch.zeros(blocks, dtype=torch.int32, device=device),
        )


def attend(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    starts: Tensor,
    rotary: tuple[Tensor, Tensor],
    heads: Heads,
    parts: SplitKeys,
    *,
    window: int | None = None,
    norms: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """qkv [B * M, (N + 2 G) * D] of rows in slots [B] at positions starts [B] (int32) on -> [B * M, N * D].

    keys and values [slots, G, capacity, D] are read below each row's start and written from there on; `rotary` are cos
    and sin [positions, 1, D] as in `models.rope`; `norms` are the weights [D] of queries and keys.
    """
    batch, capacity, size = slots.shape[0], keys.shape[2], heads.size
    count = qkv.shape[0] // batch
    out = torch.empty((qkv.shape[0], heads.heads * size), dtype=qkv.dtype, device=qkv.device)
    pdl = dependent_launch(qkv.device)
    q_norm, k_norm = (qkv, qkv) if norms is None else norms
    scale = size**-0.5 * 1.4426950408889634  # exp2 instead of exp
    _attend[(triton.cdiv(capacity, heads.keys), heads.blocks(count), batch)](
        qkv, keys, values, out, slots, starts, *rotary, q_norm, k_norm, parts.parts, parts.weights, parts.arrivals,
        count, scale, heads.eps, HEADS=heads.heads, KV=heads.kv_heads, HALF=size // 2, CAPACITY=capacity,
        WINDOW=window or 0, KEYS=heads.keys, STEP=min(STEP, heads.keys), ROWS=ROWS, NORM=norms is not None,
        PRECISION="ieee", PDL=pdl, num_warps=4, num_stages=2, **({"launch_pdl": True} if pdl else {}),
    )  # fmt: skip
    return out


def supported(size: int) -> bool:
    """Whether heads of this size can be attended to: tensor cores take powers of two, from 16 on."""
    return size >= 32 and size & (size - 1) == 0 and (INTERPRETED or size <= 256)
