"""Keys and values in pages, and the parts that they are cut into.

The keys of a sequence are cut into parts, whose bounds depend on their positions alone: PARTS of one page, PARTS of
two, and so on. So a short sequence has parts enough for many programs, and a long one few enough to add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import peek
from specdec.kernels.unpack import from_fp8, to_fp8

PAGE = 128
"""Keys of a page."""
PARTS = tl.constexpr(16)
"""Parts of one size; the next ones are twice as large."""
STEP = 64
"""Keys looked at together."""
_DOUBLINGS = tl.constexpr(16)
"""Sizes of parts: enough for any position."""


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
