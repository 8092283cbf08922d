"""A softmax over keys that come a few at a time, with the weighted sum of their values."""

from __future__ import annotations

import triton
import triton.language as tl

from specdec.kernels.launch import PRECISION

_LOG2_E = 1.4426950408889634


def scale_of(size: int) -> float:
    """What scores of heads of this size are multiplied with: for exp2 instead of exp."""
    return size**-0.5 * _LOG2_E


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
def weighed(score, v, scale, most, total, acc):
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
