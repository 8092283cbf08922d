"""A token drawn from what temperature, top_k, top_p and min_p leave, without sorting the vocabulary.

What is left are nearly always a few of the likeliest tokens. So some hundred candidates are gathered: all that are at
least as likely as a bound, which is found among the maxima of thousands of lanes. Each is compared with each, and
limited as `sampling.processors` limits the vocabulary, with the same numbers: masses are integers, whose sum has no
order. Where the candidates do not hold all that is left, the vocabulary itself is searched, by one program.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from specdec.kernels.choose import BLOCK, LOWEST, NEVER, largest_of, peaks_of, scaled, total_of
from specdec.kernels.launch import INTERPRETED

_LANES, _CANDIDATES, _WANTED = 4096, 256, tl.constexpr(128)
"""Lanes of a row; room for candidates; lanes whose maxima may reach the bound, half of them at least."""
_AT_ONCE = 32
_STEPS = tl.constexpr(20)
_ROW_BLOCK = 8192
FIXED, NEGLIGIBLE = tl.constexpr(2.0**40), tl.constexpr(-64.0)
"""As in `sampling.processors`."""


@triton.jit
def _mass(score, largest, EXACT: tl.constexpr):
    """As `processors.top_p` has it."""
    apart = score - tl.clamp(largest, LOWEST, -LOWEST)  # all may be masked
    found = libdevice.exp(apart) if EXACT else tl.exp(apart)
    return (tl.where((apart >= NEGLIGIBLE) & (apart <= 0), found, 0.0) * FIXED).to(tl.int64)


@triton.jit
def _ordered(bits):
    """The bits of scores as integers of the same order, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _least(largest, log_min_p):
    """The score that min_p leaves at least."""
    least = tl.clamp(largest, LOWEST, -LOWEST) + tl.minimum(log_min_p, 0.0)
    return tl.where(largest > NEVER, least, NEVER)


@triton.jit
def _goal(mass, share):
    """What the mass of likelier tokens stays below, in what top_p leaves."""
    goal = tl.maximum((share.to(tl.float64) * mass.to(tl.float64)).to(tl.int64), 1)
    return tl.where(share >= 1, mass + 1, goal)


@triton.jit(do_not_specialize=["chunks", "count"])
def _sketch(
    logits, noise, temperature, lanes, peaks, best, where, masses, width, chunks, count,
    WIDTH: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Of each chunk: the largest score of each lane, the best sum and its token, and the mass."""
    row, chunk = tl.program_id(1).to(tl.int64), tl.program_id(0)
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * width + at, mask=at < width, other=NEVER)
    largest, heat = largest_of(peaks, row, chunks, WIDTH), tl.load(temperature + row // count)
    score = scaled(x, largest, heat)
    lane = (row * chunks + chunk) * LANES + tl.arange(0, LANES)
    tl.store(lanes + lane, tl.max(tl.reshape(score, (BLOCK // LANES, LANES)), 0))
    total = total_of(score, tl.load(noise + row * width + at, mask=at < width, other=0.0))
    total = tl.where(at < width, total, NEVER)
    peak, index = tl.max(total, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(best + row * chunks + chunk, peak)
    tl.store(where + row * chunks + chunk, chunk * BLOCK + index)
    mass = tl.sum(_mass(score, scaled(largest, largest, heat), EXACT), 0)
    tl.store(masses + row * chunks + chunk, mass)


@triton.jit
def _bound(lanes, bounds, found, held, HELD: tl.constexpr):
    """A score that some hundred lanes reach, or all that are not masked; no candidate is `found` yet."""
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, HELD)
    score = tl.load(lanes + row * held + at, mask=at < held, other=NEVER)
    high = tl.max(score, 0)
    low, bound, step = high + NEGLIGIBLE, high, 0
    reached = tl.sum((score > NEVER).to(tl.int32), 0)
    if reached <= _WANTED:
        bound, step = NEVER, _STEPS
    while step < _STEPS:
        bound = (low + high) / 2
        reached = tl.sum((score >= bound).to(tl.int32), 0)
        low, high = tl.where(reached > _WANTED, bound, low), tl.where(reached > _WANTED, high, bound)
        step = tl.where((reached <= _WANTED) & (reached * 2 >= _WANTED), _STEPS, step + 1)
    tl.store(bounds + row, bound)
    tl.store(found + row, 0)


@triton.jit(do_not_specialize=["chunks", "count"])
def _gather(
    logits,
    temperature,
    peaks,
    bounds,
    found,
    scores,
    tokens,
    width,
    chunks,
    count,
    WIDTH: tl.constexpr,
    ROOM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The candidates, in any order."""
    row, chunk = tl.program_id(1).to(tl.int64), tl.program_id(0)
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * width + at, mask=at < width, other=NEVER)
    score = scaled(x, largest_of(peaks, row, chunks, WIDTH), tl.load(temperature + row // count))
    taken = (score >= tl.load(bounds + row)) & (score > NEVER)
    many = tl.sum(taken.to(tl.int32), 0)
    if many > 0:
        place = tl.atomic_add(found + row, many) + tl.cumsum(taken.to(tl.int32), 0) - 1
        tl.store(scores + row * ROOM + place, score, mask=taken & (place < ROOM))
        tl.store(tokens + row * ROOM + place, at, mask=taken & (place < ROOM))


@triton.jit
def _compared(scores, tokens, score, token, many, largest, ROOM: tl.constexpr, STEP: tl.constexpr, EXACT: tl.constexpr):
    """For each candidate: how many are likelier, and the mass of those and of its equals before it."""
    above, before = tl.zeros((ROOM,), tl.int32), tl.zeros((ROOM,), tl.int64)
    for low in range(0, tl.minimum(many, ROOM), STEP):
        at = low + tl.arange(0, STEP)
        other = tl.load(scores + at, mask=at < many, other=NEVER)
        name = tl.load(tokens + at, mask=at < many, other=0x7FFFFFFF)
        likelier = other[None, :] > score[:, None]
        above += tl.sum(likelier.to(tl.int32), 1)
        likelier = likelier | (other[None, :] == score[:, None]) & (name[None, :] < token[:, None])
        before += tl.sum(tl.where(likelier, _mass(other, largest, EXACT)[None, :], 0), 1)
    return above, before


@triton.jit(do_not_specialize=["chunks", "count"])
def _pick(
    logits, noise, temperature, top_k, top_p, log_min_p,
    peaks, best, where, masses, bounds, found, scores, tokens, out, left, width, chunks, count,
    WIDTH: tl.constexpr, ROOM: tl.constexpr, STEP: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """The row's token, of the candidates or of all, unless `left` to be searched for: then they do not hold it."""
    row, rank = tl.program_id(0).to(tl.int64), tl.arange(0, ROOM)
    part = tl.arange(0, WIDTH)
    inside, cell = part < chunks, row * chunks + part
    logit, heat = largest_of(peaks, row, chunks, WIDTH), tl.load(temperature + row // count)
    largest = scaled(logit, logit, heat)
    k, share = tl.load(top_k + row // count), tl.load(top_p + row // count)
    least = _least(largest, tl.load(log_min_p + row // count))
    many, bound = tl.load(found + row), tl.load(bounds + row)
    held = rank < tl.minimum(many, ROOM)
    score = tl.load(scores + row * ROOM + rank, mask=held, other=NEVER)
    token = tl.load(tokens + row * ROOM + rank, mask=held, other=0x7FFFFFFF)
    above, before = _compared(scores + row * ROOM, tokens + row * ROOM, score, token, many, largest, ROOM, STEP, EXACT)
    mass = tl.where(held & (above < k), _mass(score, largest, EXACT), 0)
    whole = tl.sum(tl.load(masses + cell, mask=inside, other=0), 0)
    whole = tl.where(k < width, tl.sum(mass, 0), whole)
    goal = _goal(whole, share)
    enough = tl.where(k < width, many >= k, (tl.sum(mass, 0) >= goal) | (least >= bound))
    kept = held & (above < k) & (before < goal) & (score >= least)
    total = tl.where(kept, total_of(score, tl.load(noise + row * width + token, mask=kept, other=0.0)), NEVER)
    peak = tl.max(total, 0)
    drawn = tl.min(tl.where(kept & (total == peak), token, 0x7FFFFFFF), 0)
    known = (enough | (bound == NEVER)) & (many <= ROOM) & (many > 0)
    if (k >= width) & (share >= 1):  # the best of all, if min_p leaves it
        every = tl.load(best + cell, mask=inside, other=NEVER)
        peak, chunk = tl.max(every, 0, return_indices=True, return_indices_tie_break_left=True)
        drawn = tl.load(where + row * chunks + chunk)
        known = scaled(tl.load(logits + row * width + drawn), logit, heat) >= least
    known = known & (logit < float("inf")) & (peak > NEVER) & (peak < float("inf"))
    tl.store(left + row, 1 - known.to(tl.int32))
    tl.store(out + row, drawn.to(tl.int64), mask=known)


@triton.jit
def _scores(logits, low, width, largest, temperature, BLOCK: tl.constexpr):
    """The scores of some tokens, and which they are."""
    at = low + tl.arange(0, BLOCK)
    return scaled(tl.load(logits + at, mask=at < width, other=NEVER), largest, temperature), at


@triton.jit
def _kth(logits, width, largest, temperature, k, BLOCK: tl.constexpr):
    """The k-th largest score, by halving what it may be."""
    low, high = tl.cast(-(2**31), tl.int64), tl.cast(2**31, tl.int64)
    while high - low > 1:
        middle, many = (low + high) >> 1, 0
        for at in range(0, width, BLOCK):
            score, token = _scores(logits, at, width, largest, temperature, BLOCK)
            key = _ordered(score.to(tl.int32, bitcast=True)).to(tl.int64)
            many += tl.sum(((key >= middle) & (token < width)).to(tl.int32), 0)
        low, high = tl.where(many >= k, middle, low), tl.where(many >= k, high, middle)
    return _ordered(low.to(tl.int32)).to(tl.float32, bitcast=True)


@triton.jit
def _best(logits, noise, width, largest, temperature, least, before, BLOCK: tl.constexpr):
    """The highest sum, its token, the first of equals, and that one's score, among those likelier than the score
    `least`, or as likely and `before` a token; NaN is among them, and highest."""
    peaks, places = tl.full((BLOCK,), NEVER, tl.float32), tl.full((BLOCK,), 0x7FFFFFFF, tl.int32)
    for low in range(0, width, BLOCK):
        score, at = _scores(logits, low, width, largest, temperature, BLOCK)
        total = total_of(score, tl.load(noise + at, mask=at < width, other=0.0))
        out = (score < least) | ((score == least) & (at >= before)) | (at >= width)
        better = ((total > peaks) | (places == 0x7FFFFFFF)) & (out == 0)
        peaks, places = tl.where(better, total, peaks), tl.where(better, at, places)
    peak = tl.max(tl.where(places < 0x7FFFFFFF, peaks, NEVER), 0)
    token = tl.min(tl.where(peaks == peak, places, 0x7FFFFFFF), 0)
    return peak, token, scaled(tl.load(logits + token), largest, temperature)


@triton.jit(do_not_specialize=["chunks", "count"])
def _search(
    logits, noise, temperature, top_k, top_p, log_min_p, peaks, left, out, width, chunks, count,
    WIDTH: tl.constexpr, MARK: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """The token of a row that is `left`: the highest sum is nearly always among what the limits leave, and whether it
    is takes one sum, that of the likelier tokens' mass. Where it is not, neither are tokens less likely than it."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(left + row) == 1:
        logit, heat = largest_of(peaks, row, chunks, WIDTH), tl.load(temperature + row // count)
        largest, k = scaled(logit, logit, heat), tl.load(top_k + row // count)
        logits, noise = logits + row * width, noise + row * width
        least = _least(largest, tl.load(log_min_p + row // count))
        lowest = NEVER  # what top_k leaves
        if (k < width) & (logit < float("inf")):
            lowest = _kth(logits, width, logit, heat, k, BLOCK)
        sums = tl.zeros((BLOCK,), tl.int64)
        for low in range(0, width, BLOCK):
            score, at = _scores(logits, low, width, logit, heat, BLOCK)
            sums += tl.where(score >= lowest, _mass(score, largest, EXACT), 0)
        goal = _goal(tl.sum(sums, 0), tl.load(top_p + row // count))
        least, before, above = tl.maximum(least, lowest), width, goal
        peak, token = NEVER, width
        while above >= goal:
            peak, token, least = _best(logits, noise, width, logit, heat, least, before, BLOCK)
            before = token
            sums = tl.zeros((BLOCK,), tl.int64)
            for low in range(0, width, BLOCK):
                score, at = _scores(logits, low, width, logit, heat, BLOCK)
                likelier = (score > least) | ((score == least) & (at < before))
                sums += tl.where(likelier, _mass(score, largest, EXACT), 0)
            above = tl.sum(sums, 0)
        found = tl.cast(token, tl.int64)
        if MARK:
            found = tl.where(tl.abs(peak) < float("inf"), found, -1 - found)
        tl.store(out + row, found)


def draw(
    logits: Tensor,
    noise: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    log_min_p: Tensor,
    *,
    mark: bool = False,
) -> Tensor:
    """Where logits [B, M, V] fp32, shaped as the functions of `sampling.processors` do it in their order, plus noise of
    that shape are highest: [B, M] int64. Each row's parameters are [B, 1, 1]; a top_k (int64) of V or more is none.
    NaN is higher than all. `mark`: see `choose.argmax`."""
    logits, noise = logits.contiguous(), noise.contiguous()
    rows, count, width = logits.shape
    total, chunks = rows * count, triton.cdiv(width, BLOCK)
    limits = [values.contiguous() for values in (temperature, top_k, top_p, log_min_p)]
    lanes = max(_LANES // triton.next_power_of_2(chunks), 32)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty((total, *shape), dtype=dtype, device=logits.device)

    maxima, left = empty(chunks * lanes), empty(dtype=torch.int32)
    sketch = (empty(chunks), empty(chunks), empty(chunks, dtype=torch.int32), empty(chunks, dtype=torch.int64))
    candidates = (empty(), empty(dtype=torch.int32), empty(_CANDIDATES), empty(_CANDIDATES, dtype=torch.int32))
    out = torch.empty((rows, count), dtype=torch.int64, device=logits.device)
    sizes, wide = (width, chunks, count), triton.next_power_of_2(chunks)
    grid, each, exact = (chunks, total), (total,), not INTERPRETED
    peaks_of[grid](logits, sketch[0], width, chunks, BLOCK=BLOCK)
    _sketch[grid](logits, noise, limits[0], maxima, *sketch, *sizes, WIDTH=wide, LANES=lanes, BLOCK=BLOCK, EXACT=exact)
    held = chunks * lanes
    _bound[each](maxima, *candidates[:2], held, HELD=triton.next_power_of_2(held), num_warps=8)
    _gather[grid](logits, limits[0], sketch[0], *candidates, *sizes, WIDTH=wide, ROOM=_CANDIDATES, BLOCK=BLOCK)
    told = (*sketch, *candidates, out, left, *sizes)
    _pick[each](logits, noise, *limits, *told, WIDTH=wide, ROOM=_CANDIDATES, STEP=_AT_ONCE, EXACT=exact)
    where = {"WIDTH": wide, "BLOCK": _ROW_BLOCK, "num_warps": 32}
    _search[each](logits, noise, *limits, sketch[0], left, out, *sizes, MARK=mark, EXACT=exact, **where)
    return out
