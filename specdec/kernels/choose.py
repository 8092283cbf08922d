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
