"""Attention of a few rows over keys and values in pages, with what stands before it: per-head norm, rotary positions,
cache write.

The keys of a sequence are cut into parts, whose bounds depend on their positions alone: PARTS of one page, PARTS of
two, and so on. So a short sequence has parts enough for many programs, and a long one few enough to add up. Each part
is computed on its own. A program takes one key/value head of one sequence, up to ROWS of the queries that share it, and
every so many-th part. The parts are added in the order of the keys: of a few rows by whichever program of a sequence
and head ends last, of more by a second kernel, a few rows to a program.
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
from specdec.kernels.unpack import from_fp8, to_fp8

PAGE = 128
"""Keys of a page."""
PARTS = tl.constexpr(16)
"""Parts of one size; the next ones are twice as large."""
STEP = 64
"""Keys looked at together."""
_PROGRAMS = 1024
"""Programs of a launch, where there are parts enough: more only wait for a place."""
_DOUBLINGS = tl.constexpr(16)
"""Sizes of parts: enough for any position."""
_FEW, _TOGETHER = 4, 24
"""Rows of a program that adds parts, and parts that it has on their way at once."""
LINE = tl.constexpr(64)
"""Elements of 16 bits that a prefetch brings."""
_LINE = tl.constexpr(1024)
"""Bits that a prefetch brings."""


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
    return (((part + PARTS - doubled * PARTS) << doubled) - PARTS) * PAGE


@triton.jit
def first_seen(position, WINDOW: tl.constexpr, STEP: tl.constexpr):
    """The first key of the first step that a token at `position` looks at."""
    if WINDOW == 0:
        return position * 0
    return tl.maximum(position - WINDOW + 1, 0) // STEP * STEP


@triton.jit
def lines_of(pages, key, head, KV: tl.constexpr, PAGE: tl.constexpr):
    """Where a key of this head lies in the pool, counted in keys; `pages` are those of its sequence."""
    return (peek(pages + key // PAGE).to(tl.int64) * KV + head) * PAGE + key % PAGE


@triton.jit
def halves(pool, place, keep, HALF: tl.constexpr, TYPE: tl.constexpr, MASKED: tl.constexpr):
    """Both halves [n, HALF] of keys or values at `place` [n] of a pool, in TYPE. In fp8 a word holds one of each."""
    half = tl.arange(0, HALF)[None, :]
    if pool.dtype.element_ty == tl.int16:
        at = pool + place[:, None] * HALF + half
        words = tl.load(at, mask=keep, other=0) if MASKED else tl.load(at)
        return from_fp8(words, 0, TYPE), from_fp8(words, 1, TYPE)
    else:
        at = pool + place[:, None] * (2 * HALF) + half
        if MASKED:
            return tl.load(at, mask=keep, other=0.0), tl.load(at + HALF, mask=keep, other=0.0)
        else:
            return tl.load(at), tl.load(at + HALF)


@triton.jit
def keep_halves(pool, place, first, second, new, HALF: tl.constexpr):
    """Put them there, where they are `new` [n], if they are to be: returns them as `halves` would."""
    half = tl.arange(0, HALF)[None, :]
    if pool.dtype.element_ty == tl.int16:
        words = to_fp8(first, second)
        tl.store(pool + place[:, None] * HALF + half, words, mask=new[:, None])
        return from_fp8(words, 0, first.dtype), from_fp8(words, 1, first.dtype)
    else:
        at = pool + place[:, None] * (2 * HALF) + half
        tl.store(at, first, mask=new[:, None])
        tl.store(at + HALF, second, mask=new[:, None])
        return first, second


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
def new_halves(
    fresh, k_norm, key, new, cos, sin, eps, KV: tl.constexpr, HALF: tl.constexpr, NORM: tl.constexpr,
    TYPE: tl.constexpr,
):  # fmt: skip
    """The halves of keys and values that the product left at `fresh` [n], where they are `new` [n]."""
    k1, k2 = turned(fresh, k_norm, key, cos, sin, new, eps, HALF, NORM)
    at = (fresh + KV * 2 * HALF)[:, None] + tl.arange(0, HALF)[None, :]
    v1, v2 = tl.load(at, mask=new[:, None], other=0.0), tl.load(at + HALF, mask=new[:, None], other=0.0)
    return k1.to(TYPE), k2.to(TYPE), v1, v2


@triton.jit
def weighted(score, scale, most, total):
    """One step of a softmax over keys that come a few at a time (Milakov and Gimelshein 2018, as in FlashAttention):
    the largest score so far, the sums of the weights (see `summed`), the weights, and what shrinks all before them.

    Each sum has one order for any number of queries. So weights are added two by two, each where it lies, and what a
    compiler may or may not take together is said outright (`fma`).
    """
    higher = tl.maximum(most, tl.max(score, 1) * scale)
    safe = tl.where(higher == float("-inf"), 0.0, higher)
    factor = tl.full(score.shape, 1.0, tl.float32) * scale
    p = tl.exp2(tl.fma(score, factor, tl.zeros_like(score) - safe[:, None]))
    shrink = tl.exp2(most - safe)[:, None]
    total = tl.fma(total, tl.zeros_like(total) + shrink, _halved(p))
    return higher, total, p, shrink


@triton.jit
def weighed(score, v, scale, most, total, acc, PRECISION: tl.constexpr):
    """The same, with the weighted sum of values."""
    most, total, p, shrink = weighted(score, scale, most, total)
    return most, total, tl.dot(p.to(v.dtype), v, acc * shrink, input_precision=PRECISION)


@triton.jit
def _halved(x):
    """x [rows, 2 n] with its second half added to its first: the same bits however the numbers lie."""
    HALF: tl.constexpr = x.shape[1] // 2
    return tl.sum(tl.reshape(x, (x.shape[0], 2, HALF)), 1)


@triton.jit
def summed(total):
    """The sum of each row of [rows, n]: halves are added, and halves of these."""
    for _ in tl.static_range(10):
        if total.shape[1] > 1:
            total = _halved(total)
    return tl.sum(total, 1)


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
def _joined(
    parts, weights, home, row, begins, active, mine, ROWS: tl.constexpr, SIZE: tl.constexpr, TOGETHER: tl.constexpr
):
    """Rows [n] of the values [n, SIZE] of the parts from `begins` on, added in the order of their keys."""
    lane = tl.arange(0, SIZE)
    most = tl.full(row.shape, float("-inf"), tl.float32)
    total = tl.zeros(row.shape, tl.float32)
    acc = tl.zeros((row.shape[0], SIZE), tl.float32)
    wanted = tl.where(mine, active, 0)
    for first in range(begins, active, TOGETHER):
        held = ()  # all are on their way before the first is used
        for near in tl.static_range(TOGETHER):
            there = wanted > first + near  # nothing is added for a part that is not there
            line = home + (first + near) * ROWS + row
            peak = tl.load(weights + 2 * line, mask=there, other=float("-inf"), cache_modifier=".cg")
            mass = tl.load(weights + 2 * line + 1, mask=there, other=0.0, cache_modifier=".cg")
            at = parts + line[:, None] * SIZE + lane[None, :]
            part = tl.load(at, mask=there[:, None], other=0.0, cache_modifier=".cg")
            held = held + ((peak, mass, part),)  # type: ignore[assignment]  # noqa: RUF005
        for near in tl.static_range(TOGETHER):
            most, total, acc = join(most, total, acc, held[near][0], held[near][1], held[near][2])
    return acc / tl.where(mine, total, 1.0)[:, None]


@triton.jit(do_not_specialize=["count", "room"])
def _join(
    parts, weights, out, starts, count, room,
    HEADS: tl.constexpr, KV: tl.constexpr, SIZE: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr, FEW: tl.constexpr, TOGETHER: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The parts of `_attend`, where there are several; a program takes FEW rows."""
    GROUP: tl.constexpr = HEADS // KV
    block, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    blocks = tl.num_programs(0)
    tiles = blocks // KV
    head, tile = block // tiles, block % tiles
    row, lane = group * FEW + tl.arange(0, FEW), tl.arange(0, SIZE)
    index = tile * ROWS + row
    mine, start = index < GROUP * count, tl.load(starts + b)
    begins = its_part(first_seen(start + tile * ROWS // GROUP, WINDOW, STEP), PAGE)
    active = its_part(start + count - 1, PAGE) + 1
    follow(PDL)
    if (active > begins + 1) & (tile * ROWS + group * FEW < GROUP * count):
        home = (b * blocks + block).to(tl.int64) * room * ROWS
        found = _joined(parts, weights, home, row, begins, active, mine, ROWS, SIZE, TOGETHER)
        place = (b * count + index // GROUP).to(tl.int64) * HEADS + head * GROUP + index % GROUP
        tl.store(out + place[:, None] * SIZE + lane[None, :], found.to(out.dtype.element_ty), mask=mine[:, None])


@triton.jit(do_not_specialize=["count", "width", "room"])  # the same code for any number of rows, so the same bits
def _attend(
    qkv, keys, values, table, out, slots, starts, cos, sin, q_norm, k_norm, parts, weights, arrivals, count, width,
    room, scale, eps,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
    FEW: tl.constexpr, TOGETHER: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """qkv [B * count, (HEADS + 2 KV) * 2 HALF], keys and values [pages, KV, PAGE, 2 HALF] or words of fp8 [..., HALF],
    table [slots, width] int32, out [B * count, HEADS * 2 HALF], which `_join` writes where there are more than FEW
    rows and more than one part; parts [B, blocks, room, ROWS, 2 HALF] and weights [B, blocks, room, ROWS, 2] fp32;
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
    first = first_seen(start + tile * ROWS // GROUP, WINDOW, STEP)
    share = active - its_part(first, PAGE)
    pages = table + slot * width
    if PDL:
        early = first_key(active - 1 - program, PAGE)
        if (program < share) & (early < start):
            near = lines_of(pages, early, head, KV, PAGE) + tl.minimum(tl.arange(0, PAGE), start - early)
            LONG: tl.constexpr = HALF if keys.dtype.element_ty == tl.int16 else SIZE
            lines = near[:, None] * LONG + tl.arange(0, LONG // LINE if LONG > LINE else 1)[None, :] * LINE
            prefetch(keys + lines)
            prefetch(values + lines)
    follow(PDL)
    if program < share:
        half, line = tl.arange(0, HALF), tl.arange(0, ROWS)
        index = tile * ROWS + line
        m, mine = index // GROUP, index < GROUP * count
        position = start + m
        row = (b * count + m).to(tl.int64)
        at_query = qkv + row * WIDE + (head * GROUP + index % GROUP) * SIZE
        q1, q2 = turned(at_query, q_norm, position, cos, sin, mine, eps, HALF, NORM)
        kind = qkv.dtype.element_ty
        q1, q2 = q1.to(kind), q2.to(kind)
        home = (b * blocks + block).to(tl.int64) * room * ROWS
        for turn in range(program, share, programs):
            part = active - 1 - turn  # the long ones first
            low, high = tl.maximum(first_key(part, PAGE), first), tl.minimum(first_key(part + 1, PAGE), end)
            old = tl.maximum(tl.minimum(high, start // STEP * STEP), low)  # below it are no new keys
            most = tl.full((ROWS,), float("-inf"), tl.float32)
            sums = tl.zeros((ROWS, STEP // 2), tl.float32)
            acc1 = tl.zeros((ROWS, HALF), tl.float32)
            acc2 = tl.zeros((ROWS, HALF), tl.float32)
            for at in tl.range(low, old, STEP, num_stages=STAGES):
                key = at + tl.arange(0, STEP)
                place = lines_of(pages, at, head, KV, PAGE) + tl.arange(0, STEP)
                k1, k2 = halves(keys, place, None, HALF, kind, False)
                v1, v2 = halves(values, place, None, HALF, kind, False)
                score = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
                score = tl.dot(q2, tl.trans(k2), score, input_precision=PRECISION)
                if WINDOW > 0:
                    score = tl.where(key[None, :] > position[:, None] - WINDOW, score, float("-inf"))
                most, sums, p, shrink = weighted(score, scale, most, sums)
                p = p.to(kind)
                acc1 = tl.dot(p, v1, acc1 * shrink, input_precision=PRECISION)
                acc2 = tl.dot(p, v2, acc2 * shrink, input_precision=PRECISION)
            for at in tl.range(old, high, STEP, num_stages=1):
                key = at + tl.arange(0, STEP)
                known, new = (key < start)[:, None], (key >= start) & (key < end)
                place = lines_of(pages, at, head, KV, PAGE) + tl.arange(0, STEP)
                k1, k2 = halves(keys, place, known, HALF, kind, True)
                v1, v2 = halves(values, place, known, HALF, kind, True)
                fresh = qkv + (b * count + key - start).to(tl.int64) * WIDE + (HEADS + head) * SIZE
                n1, n2, w1, w2 = new_halves(fresh, k_norm, key, new, cos, sin, eps, KV, HALF, NORM, kind)
                written = new & (key * 0 == tile)  # by one program
                n1, n2 = keep_halves(keys, place, n1, n2, written, HALF)
                w1, w2 = keep_halves(values, place, w1, w2, written, HALF)
                k1, k2 = tl.where(new[:, None], n1, k1), tl.where(new[:, None], n2, k2)
                v1, v2 = tl.where(new[:, None], w1, v1), tl.where(new[:, None], w2, v2)
                score = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
                score = tl.dot(q2, tl.trans(k2), score, input_precision=PRECISION)
                seen = key[None, :] <= position[:, None]
                if WINDOW > 0:
                    seen = seen & (key[None, :] > position[:, None] - WINDOW)
                score = tl.where(seen, score, float("-inf"))
                most, sums, p, shrink = weighted(score, scale, most, sums)
                p = p.to(kind)
                acc1 = tl.dot(p, v1, acc1 * shrink, input_precision=PRECISION)
                acc2 = tl.dot(p, v2, acc2 * shrink, input_precision=PRECISION)
            total = summed(sums)
            if share == 1:
                where = out + (row * (HEADS * SIZE) + (head * GROUP + index % GROUP) * SIZE)[:, None] + half[None, :]
                tl.store(where, (acc1 / total[:, None]).to(kind), mask=mine[:, None])
                tl.store(where + HALF, (acc2 / total[:, None]).to(kind), mask=mine[:, None])
            else:
                its = home + part * ROWS + line
                cell = parts + its[:, None] * SIZE + half[None, :]
                tl.store(cell, acc1, mask=mine[:, None])
                tl.store(cell + HALF, acc2, mask=mine[:, None])
                tl.store(weights + 2 * its, most, mask=mine)
                tl.store(weights + 2 * its + 1, total, mask=mine)
        if (share > 1) & (GROUP * count <= FEW):
            tl.debug_barrier()
            arrived = arrivals + b * blocks + block
            if tl.atomic_add(arrived, 1, sem="acq_rel") == tl.minimum(share, programs) - 1:
                few, lane = tl.arange(0, FEW), tl.arange(0, SIZE)
                there = few < GROUP * count
                found = _joined(parts, weights, home, few, active - share, active, there, ROWS, SIZE, TOGETHER)
                whole = (b * count + few // GROUP).to(tl.int64) * HEADS + head * GROUP + few % GROUP
                tl.store(out + whole[:, None] * SIZE + lane[None, :], found.to(kind), mask=there[:, None])
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
    """[pages, G, page, D]; in fp8 words [..., D / 2] int16 of the first and the second half."""
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
    step, pdl = min(STEP, held.page), dependent_launch(qkv.device)
    launch = {"launch_pdl": True} if pdl else {}
    q_norm, k_norm = (qkv, qkv) if norms is None else norms
    scale = size**-0.5 * 1.4426950408889634  # exp2 instead of exp
    blocks, parts = heads.blocks(count), held.parts
    programs = max(1, min(parts, _PROGRAMS // (blocks * batch)))
    _attend[(blocks, programs, batch)](
        qkv, held.keys, held.values, held.table, out, slots, starts, *rotary, q_norm, k_norm, split.parts,
        split.weights, split.arrivals, count, held.table.shape[1], parts, scale, heads.eps, HEADS=heads.heads,
        KV=heads.kv_heads, HALF=size // 2, WINDOW=window or 0, PAGE=held.page, STEP=step, ROWS=ROWS,
        NORM=norms is not None, PRECISION="ieee", STAGES=3 if size <= 128 else 2, FEW=_FEW, TOGETHER=_TOGETHER, PDL=pdl,
        num_warps=4,
        **launch,
    )  # fmt: skip
    if parts > 1 and heads.heads // heads.kv_heads * count > _FEW:
        _join[(blocks, ROWS // _FEW, batch)](
            split.parts,
            split.weights,
            out,
            starts,
            count,
            parts,
            HEADS=heads.heads,
            KV=heads.kv_heads,
            SIZE=size,
            WINDOW=window or 0,
            PAGE=held.page,
            STEP=step,
            ROWS=ROWS,
            FEW=_FEW,
            TOGETHER=_TOGETHER,
            PDL=pdl,
            num_warps=4,
            **launch,
        )
    return out


def supported(size: int) -> bool:
    """Whether heads of this size can be attended to: tensor cores take powers of two, from 16 on."""
    return size >= 32 and size & (size - 1) == 0 and (INTERPRETED or size <= 256)
