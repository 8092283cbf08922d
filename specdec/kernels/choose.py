"""Noise and the most likely token, over any vocabulary, without a sort.

The noise is that of `sampling.noise`, word for word: the tokens drawn with a seed are the same on every device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from specdec.kernels.launch import INTERPRETED

_BLOCK = 4096
_ROW_BLOCK = 8192
FIXED, NEGLIGIBLE = tl.constexpr(2.0**40), tl.constexpr(-64.0)
"""As in `sampling.processors`."""


@triton.jit(do_not_specialize=["count"])
def _gumbel(seeds, positions, out, count, width, STREAM: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr):
    """out [B, count, width]; one program BLOCK numbers, four to a counter."""
    row, j = tl.program_id(1), tl.program_id(2)
    seed = tl.load(seeds + row)
    position = (tl.load(positions + row) + j).to(tl.uint32)
    counter = tl.program_id(0) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    zero = counter.to(tl.uint32) * 0
    a, b, c, d = tl.philox(seed.to(tl.uint64), counter.to(tl.uint32), zero + position, zero + STREAM, zero)
    word = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (BLOCK,))
    u = (word.to(tl.float64) + 0.5) * 2.3283064365386962890625e-10
    if EXACT:
        noise = -libdevice.log(-libdevice.log1p(-u))
    else:
        noise = -tl.log(-tl.log(1.0 - u))
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + (row * count + j).to(tl.int64) * width + at, noise.to(tl.float32), mask=at < width)


def gumbel(seeds: Tensor, positions: Tensor, count: int, stream: int, width: int) -> Tensor:
    """Standard Gumbel noise [B, count, width] fp32 for seeds [B] int64 and positions [B] + 0 .. count - 1."""
    out = torch.empty((seeds.shape[0], count, width), dtype=torch.float32, device=seeds.device)
    grid = (triton.cdiv(width, _BLOCK), seeds.shape[0], count)
    _gumbel[grid](seeds, positions, out, count, width, STREAM=stream, BLOCK=_BLOCK, EXACT=not INTERPRETED)
    return out


@triton.jit
def _parts(scores, noise, best, where, width, chunks, NOISY: tl.constexpr, BLOCK: tl.constexpr):
    row, chunk = tl.program_id(1).to(tl.int64), tl.program_id(0)
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    score = tl.load(scores + row * width + at, mask=at < width, other=float("-inf"))
    if NOISY:
        score += tl.load(noise + row * width + at, mask=at < width, other=0.0)
    # a maximum would lose NaN, or its place
    score = tl.where(score >= float("-inf"), score, float("inf"))
    peak, index = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(best + row * chunks + chunk, peak)
    tl.store(where + row * chunks + chunk, chunk * BLOCK + index)


@triton.jit
def _join(best, where, out, chunks, WIDTH: tl.constexpr, MARK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, WIDTH)
    score = tl.load(best + row * chunks + at, mask=at < chunks, other=float("-inf"))
    peak, chunk = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    index = tl.load(where + row * chunks + chunk).to(tl.int64)
    if MARK:
        index = tl.where(tl.abs(peak) < float("inf"), index, -1 - index)
    tl.store(out + row, index)


def argmax(scores: Tensor, noise: Tensor | None = None, *, mark: bool = False) -> Tensor:
    """Where scores [R, V] fp32 (plus noise of that shape) are highest, the first of equals: [R] int64. NaN is higher
    than all. `mark`: where the highest score i is NaN or infinite the result is -1 - i."""
    scores = scores.contiguous()
    rows, width = scores.shape
    chunks = triton.cdiv(width, _BLOCK)
    best = torch.empty((rows, chunks), dtype=torch.float32, device=scores.device)
    where = torch.empty((rows, chunks), dtype=torch.int32, device=scores.device)
    out = torch.empty(rows, dtype=torch.int64, device=scores.device)
    given = scores if noise is None else noise
    _parts[(chunks, rows)](scores, given, best, where, width, chunks, NOISY=noise is not None, BLOCK=_BLOCK)
    _join[(rows,)](best, where, out, chunks, WIDTH=triton.next_power_of_2(chunks), MARK=mark)
    return out


@triton.jit
def _largest(scores, width, BLOCK: tl.constexpr):
    found = tl.full((BLOCK,), float("-inf"), tl.float32)
    for low in range(0, width, BLOCK):
        at = low + tl.arange(0, BLOCK)
        found = tl.maximum(found, tl.load(scores + at, mask=at < width, other=float("-inf")))
    return tl.max(found, 0)


@triton.jit
def _mass(score, largest, EXACT: tl.constexpr):
    """As `processors.top_p` has it."""
    apart = score - tl.clamp(largest, -3.0e38, 3.0e38)  # all may be masked
    found = libdevice.exp(apart) if EXACT else tl.exp(apart)
    return (tl.where((apart >= NEGLIGIBLE) & (apart <= 0), found, 0.0) * FIXED).to(tl.int64)


@triton.jit
def _best(scores, noise, width, least, before, BLOCK: tl.constexpr):
    """The highest sum and its token, the first of equals, among those likelier than the score `least`, or as likely and
    `before` a token; NaN is among them, and highest."""
    peaks, places = tl.full((BLOCK,), float("-inf"), tl.float32), tl.full((BLOCK,), 2147483647, tl.int32)
    for low in range(0, width, BLOCK):
        at = low + tl.arange(0, BLOCK)
        score = tl.load(scores + at, mask=at < width, other=float("-inf"))
        total = score + tl.load(noise + at, mask=at < width, other=0.0)
        total = tl.where(total >= float("-inf"), total, float("inf"))
        out = (score < least) | ((score == least) & (at >= before)) | (at >= width)
        better = ((total > peaks) | (places == 2147483647)) & (out == 0)
        peaks, places = tl.where(better, total, peaks), tl.where(better, at, places)
    peak = tl.max(tl.where(places < 2147483647, peaks, float("-inf")), 0)
    return peak, tl.min(tl.where(peaks == peak, places, 2147483647), 0)


@triton.jit
def _draw(
    scores, noise, top_p, log_min_p, out, width, count, MARK: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr
):
    """One program a row; see `draw`."""
    row = tl.program_id(0).to(tl.int64)
    scores, noise = scores + row * width, noise + row * width
    share = tl.load(top_p + row // count)
    largest = _largest(scores, width, BLOCK)
    sums = tl.zeros((BLOCK,), tl.int64)
    for low in range(0, width, BLOCK):
        at = low + tl.arange(0, BLOCK)
        sums += _mass(tl.load(scores + at, mask=at < width, other=float("-inf")), largest, EXACT)
    mass = tl.sum(sums, 0)
    goal = tl.maximum((share.to(tl.float64) * mass.to(tl.float64)).to(tl.int64), 1)
    goal = tl.where(share >= 1, mass + 1, goal)
    least = tl.clamp(largest, -3.0e38, 3.0e38) + tl.minimum(tl.load(log_min_p + row // count), 0.0)
    least, before, above = tl.where(largest > float("-inf"), least, largest), width, goal
    peak, token = float("-inf"), width
    while above >= goal:
        peak, token = _best(scores, noise, width, least, before, BLOCK)
        least, before = tl.load(scores + token), token
        sums = tl.zeros((BLOCK,), tl.int64)
        for low in range(0, width, BLOCK):
            at = low + tl.arange(0, BLOCK)
            score = tl.load(scores + at, mask=at < width, other=float("-inf"))
            likelier = (score > least) | ((score == least) & (at < before))
            sums += tl.where(likelier, _mass(score, largest, EXACT), 0)
        above = tl.sum(sums, 0)
    found = tl.cast(token, tl.int64)
    if MARK:
        found = tl.where(tl.abs(peak) < float("inf"), found, -1 - found)
    tl.store(out + row, found)


def draw(scores: Tensor, noise: Tensor, top_p: Tensor, log_min_p: Tensor, *, mark: bool = False) -> Tensor:
    """`argmax` of scores [B, M, V] fp32 plus noise of that shape over what `processors.top_p` and `processors.min_p`
    leave of them, [B, M] int64; top_p and log_min_p [B, 1, 1] fp32.

    Nothing is sorted: the highest sum of all is nearly always among what is left, and whether it is takes one sum, that
    of the likelier tokens' mass. Where it is not, neither are tokens less likely than it, and the others are tried.
    """
    scores, noise = scores.contiguous(), noise.contiguous()
    rows, count, width = scores.shape
    out = torch.empty((rows, count), dtype=torch.int64, device=scores.device)
    given = top_p.contiguous(), log_min_p.contiguous()
    _draw[(rows * count,)](
        scores, noise, *given, out, width, count, MARK=mark, BLOCK=_ROW_BLOCK, EXACT=not INTERPRETED, num_warps=32
    )
    return out
