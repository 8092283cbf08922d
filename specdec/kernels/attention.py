"""Attention of a few rows over keys and values in pages, with what stands before it: per-head norm, rotary positions,
cache write.

Each part of the keys (see `pages`) is computed on its own. A program takes one key/value head of one sequence, up to
ROWS of the queries that share it, and every so many-th part. The parts are added in the order of the keys: of a few
rows by whichever program of a sequence and head ends last, of more by a second kernel, a few rows to a program.
New keys and values are taken from the product that made them, rotated, and written to their pages on the way, so nobody
waits for the write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import INTERPRETED, PRECISION, dependent_launch, follow, prefetch
from specdec.kernels.pages import STEP, PagedKeys, first_key, first_seen, halves, its_part, keep_halves, lines_of
from specdec.kernels.rotary import new_halves, turned
from specdec.kernels.softmax import join, scale_of, summed, weighted
from specdec.kernels.tiles import ROWS

_PROGRAMS = 1024
"""Programs of a launch, where there are parts enough: more only wait for a place."""
_FEW, _TOGETHER = tl.constexpr(4), tl.constexpr(24)
"""Rows of a program that adds parts, and parts that it has on their way at once."""
_LINE = tl.constexpr(64)
"""Elements of 16 bits that a prefetch brings."""


@triton.jit
def _joined(parts, weights, home, row, begins, active, mine, ROWS: tl.constexpr, SIZE: tl.constexpr):
    """Rows [n] of the values [n, SIZE] of the parts from `begins` on, added in the order of their keys."""
    lane = tl.arange(0, SIZE)
    most = tl.full(row.shape, float("-inf"), tl.float32)
    total = tl.zeros(row.shape, tl.float32)
    acc = tl.zeros((row.shape[0], SIZE), tl.float32)
    wanted = tl.where(mine, active, 0)
    for first in range(begins, active, _TOGETHER):
        held = ()  # all are on their way before the first is used
        for near in tl.static_range(_TOGETHER):
            there = wanted > first + near  # nothing is added for a part that is not there
            line = home + (first + near) * ROWS + row
            peak = tl.load(weights + 2 * line, mask=there, other=float("-inf"), cache_modifier=".cg")
            mass = tl.load(weights + 2 * line + 1, mask=there, other=0.0, cache_modifier=".cg")
            at = parts + line[:, None] * SIZE + lane[None, :]
            part = tl.load(at, mask=there[:, None], other=0.0, cache_modifier=".cg")
            held = held + ((peak, mass, part),)  # type: ignore[assignment]  # noqa: RUF005
        for near in tl.static_range(_TOGETHER):
            most, total, acc = join(most, total, acc, held[near][0], held[near][1], held[near][2])
    return acc / tl.where(mine, total, 1.0)[:, None]


@triton.jit(do_not_specialize=["count", "room"])
def _join(
    parts, weights, out, starts, count, room,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The parts of `_attend`, where there are several; a program takes a few rows."""
    GROUP: tl.constexpr = HEADS // KV
    SIZE: tl.constexpr = 2 * HALF
    block, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    blocks = tl.num_programs(0)
    tiles = blocks // KV
    head, tile = block // tiles, block % tiles
    row, lane = group * _FEW + tl.arange(0, _FEW), tl.arange(0, SIZE)
    index = tile * ROWS + row
    mine, start = index < GROUP * count, tl.load(starts + b)
    begins = its_part(first_seen(start + tile * ROWS // GROUP, WINDOW, STEP), PAGE)
    active = its_part(start + count - 1, PAGE) + 1
    follow(PDL)
    if (active > begins + 1) & (tile * ROWS + group * _FEW < GROUP * count):
        home = (b * blocks + block).to(tl.int64) * room * ROWS
        found = _joined(parts, weights, home, row, begins, active, mine, ROWS, SIZE)
        place = (b * count + index // GROUP).to(tl.int64) * HEADS + head * GROUP + index % GROUP
        tl.store(out + place[:, None] * SIZE + lane[None, :], found.to(out.dtype.element_ty), mask=mine[:, None])


@triton.jit
def _scored(q1, q2, k1, k2):
    """Of queries with keys, both in halves."""
    score = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
    return tl.dot(q2, tl.trans(k2), score, input_precision=PRECISION)


@triton.jit
def _weighed(score, v1, v2, scale, most, sums, acc1, acc2):
    """`softmax.weighed`, of values in halves."""
    most, sums, p, shrink = weighted(score, scale, most, sums)
    p = p.to(v1.dtype)
    acc1 = tl.dot(p, v1, acc1 * shrink, input_precision=PRECISION)
    return most, sums, acc1, tl.dot(p, v2, acc2 * shrink, input_precision=PRECISION)


@triton.jit(do_not_specialize=["count", "width", "room"])  # the same code for any number of rows, so the same bits
def _attend(
    qkv, keys, values, table, out, slots, starts, cos, sin, q_norm, k_norm, parts, weights, arrivals, count, width,
    room, scale, eps,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """qkv [B * count, (HEADS + 2 KV) * 2 HALF], keys and values [pages, KV, PAGE, 2 HALF] or words of fp8 [..., HALF],
    table [slots, width] int32, out [B * count, HEADS * 2 HALF], which `_join` writes where there are more than a few
    rows and more than one part; parts [B, blocks, room, ROWS, 2 HALF] and weights [B, blocks, room, ROWS, 2] fp32;
    arrivals [B, blocks] int32, zero before and after."""
    GROUP: tl.constexpr = HEADS // KV
    SIZE: tl.constexpr = 2 * HALF
    WIDE: tl.constexpr = (HEADS + 2 * KV) * SIZE
    STAGES: tl.constexpr = 3 if SIZE <= 128 else 2
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
            lines = near[:, None] * LONG + tl.arange(0, LONG // _LINE if LONG > _LINE else 1)[None, :] * _LINE
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
                score = _scored(q1, q2, k1, k2)
                if WINDOW > 0:
                    score = tl.where(key[None, :] > position[:, None] - WINDOW, score, float("-inf"))
                most, sums, acc1, acc2 = _weighed(score, v1, v2, scale, most, sums, acc1, acc2)
            for at in tl.range(old, high, STEP, num_stages=1):
                key = at + tl.arange(0, STEP)
                known, new = (key < start)[:, None], (key >= start) & (key < end)
                place = lines_of(pages, at, head, KV, PAGE) + tl.arange(0, STEP)
                k1, k2 = halves(keys, place, known, HALF, kind, True)
                v1, v2 = halves(values, place, known, HALF, kind, True)
                fresh = qkv + (b * count + key - start).to(tl.int64) * WIDE + (HEADS + head) * SIZE
                n1, n2, w1, w2 = new_halves(fresh, k_norm, key, new, cos, sin, eps, KV, HALF, NORM)
                written = new & (key * 0 == tile)  # by one program
                n1, n2 = keep_halves(keys, place, n1, n2, written, HALF)
                w1, w2 = keep_halves(values, place, w1, w2, written, HALF)
                k1, k2 = tl.where(new[:, None], n1, k1), tl.where(new[:, None], n2, k2)
                v1, v2 = tl.where(new[:, None], w1, v1), tl.where(new[:, None], w2, v2)
                score = _scored(q1, q2, k1, k2)
                seen = key[None, :] <= position[:, None]
                if WINDOW > 0:
                    seen = seen & (key[None, :] > position[:, None] - WINDOW)
                score = tl.where(seen, score, float("-inf"))
                most, sums, acc1, acc2 = _weighed(score, v1, v2, scale, most, sums, acc1, acc2)
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
        if (share > 1) & (GROUP * count <= _FEW):
            tl.debug_barrier()
            arrived = arrivals + b * blocks + block
            if tl.atomic_add(arrived, 1, sem="acq_rel") == tl.minimum(share, programs) - 1:
                few, lane = tl.arange(0, _FEW), tl.arange(0, SIZE)
                there = few < GROUP * count
                found = _joined(parts, weights, home, few, active - share, active, there, ROWS, SIZE)
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

    @property
    def group(self) -> int:
        """Queries that share a key."""
        return self.heads // self.kv_heads

    def blocks(self, count: int) -> int:
        """Programs that share a part of one sequence, for `count` tokens a row."""
        return self.kv_heads * triton.cdiv(self.group * count, ROWS)

    def shape(self, held: PagedKeys) -> dict[str, Any]:
        """The compile-time constants by which kernels read these heads in what is `held`."""
        sizes = {"HEADS": self.heads, "KV": self.kv_heads, "HALF": self.size // 2}
        return sizes | {"PAGE": held.page, "STEP": min(STEP, held.page)}


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
    shape, pdl = heads.shape(held), dependent_launch(qkv.device)
    how = (
        shape
        | {"WINDOW": window or 0, "ROWS": ROWS, "PDL": pdl, "num_warps": 4}
        | ({"launch_pdl": True} if pdl else {})
    )
    q_norm, k_norm = (qkv, qkv) if norms is None else norms
    blocks, parts = heads.blocks(count), held.parts
    programs = max(1, min(parts, _PROGRAMS // (blocks * batch)))
    _attend[(blocks, programs, batch)](
        qkv,
        held.keys,
        held.values,
        held.table,
        out,
        slots,
        starts,
        *rotary,
        q_norm,
        k_norm,
        split.parts,
        split.weights,
        split.arrivals,
        count,
        held.table.shape[1],
        parts,
        scale_of(size),
        heads.eps,
        NORM=norms is not None,
        **how,
    )
    if parts > 1 and heads.group * count > _FEW.value:
        _join[(blocks, ROWS // _FEW.value, batch)](split.parts, split.weights, out, starts, count, parts, **how)
    return out


def supported(size: int) -> bool:
    """Whether heads of this size can be attended to: tensor cores take powers of two, from 16 on."""
    return size >= 32 and size & (size - 1) == 0 and (INTERPRETED or size <= 256)
