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

BLOCK = 4096
"""Tokens of a chunk."""
LOWEST, NEVER = tl.constexpr(-3.4028234663852886e38), tl.constexpr(float("-inf"))


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
    grid = (triton.cdiv(width, BLOCK), seeds.shape[0], count)
    _gumbel[grid](seeds, positions, out, count, width, STREAM=stream, BLOCK=BLOCK, EXACT=not INTERPRETED)
    return out


@triton.jit
def largest_of(peaks, row, chunks, WIDTH: tl.constexpr):
    """The row's largest logit, from its chunks'."""
    at = tl.arange(0, WIDTH)
    return tl.max(tl.load(peaks + row * chunks + at, mask=at < chunks, other=NEVER), 0)


@triton.jit(do_not_specialize=["chunks"])
def peaks_of(logits, peaks, width, chunks, BLOCK: tl.constexpr):
    """Each chunk's largest logit; infinite for NaN."""
    row, chunk = tl.program_id(1).to(tl.int64), tl.program_id(0)
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * width + at, mask=at < width, other=NEVER)
    tl.store(peaks + row * chunks + chunk, tl.max(tl.where(x >= NEVER, x, float("inf")), 0))


@triton.jit
def scaled(logit, largest, temperature):
    """As `processors.temperature` has it. The largest logit may be NaN, which is told as infinite."""
    shift = tl.where((temperature == 1) | (largest == float("inf")), 0.0, tl.maximum(largest, LOWEST))
    score = tl.div_rn(logit - shift, temperature + tl.zeros_like(logit))
    return tl.where(score == 0, 0.0, score)  # one zero: scores are ordered by their bits, too


@triton.jit
def total_of(score, noise):
    """What the highest is drawn by; NaN is highest."""
    total = score + noise
    return tl.where(total >= NEVER, total, float("inf"))


@triton.jit(do_not_specialize=["chunks", "count"])
def _parts(
    logits,
    noise,
    temperature,
    peaks,
    best,
    where,
    width,
    chunks,
    count,
    WIDTH: tl.constexpr,
    NOISY: tl.constexpr,
    HEATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The highest of each chunk, and its token."""
    row, chunk = tl.program_id(1).to(tl.int64), tl.program_id(0)
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    score = tl.load(logits + row * width + at, mask=at < width, other=NEVER)
    if HEATED:
        score = scaled(score, largest_of(peaks, row, chunks, WIDTH), tl.load(temperature + row // count))
    added = tl.zeros_like(score)
    if NOISY:
        added = tl.load(noise + row * width + at, mask=at < width, other=0.0)
    peak, index = tl.max(total_of(score, added), 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(best + row * chunks + chunk, peak)
    tl.store(where + row * chunks + chunk, chunk * BLOCK + index)


@triton.jit
def _join(best, where, out, chunks, WIDTH: tl.constexpr, MARK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, WIDTH)
    score = tl.load(best + row * chunks + at, mask=at < chunks, other=NEVER)
    peak, chunk = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    index = tl.load(where + row * chunks + chunk).to(tl.int64)
    if MARK:
        index = tl.where(tl.abs(peak) < float("inf"), index, -1 - index)
    tl.store(out + row, index)


def argmax(
    logits: Tensor, noise: Tensor | None = None, temperature: Tensor | None = None, *, mark: bool = False
) -> Tensor:
    """Where logits [R, V] fp32, by a temperature of their own ([B, 1, 1], for R / B rows each) and plus noise of their
    shape, are highest, the first of equals: [R] int64. NaN is higher than all. `mark`: where the highest i is NaN or
    infinite the result is -1 - i."""
    logits = logits.contiguous()
    rows, width = logits.shape
    chunks = triton.cdiv(width, BLOCK)
    best, peaks = torch.empty((2, rows, chunks), dtype=torch.float32, device=logits.device)
    where = torch.empty((rows, chunks), dtype=torch.int32, device=logits.device)
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    heat, count, grid, wide = logits, rows, (chunks, rows), triton.next_power_of_2(chunks)
    if temperature is not None:
        heat, count = temperature.contiguous(), rows // temperature.shape[0]
        peaks_of[grid](logits, peaks, width, chunks, BLOCK=BLOCK)
    given = (logits, logits if noise is None else noise, heat, peaks, best, where, width, chunks, count)
    _parts[grid](*given, WIDTH=wide, NOISY=noise is not None, HEATED=temperature is not None, BLOCK=BLOCK)
    _join[(rows,)](best, where, out, chunks, WIDTH=wide, MARK=mark)
    return out
