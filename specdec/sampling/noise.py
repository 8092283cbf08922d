"""Counter-based noise: a pure function of (seed, position, stream, index).

Philox 4x32 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") has no state to carry, so noise does not
depend on the batch, on what was drawn before, on the device or on the width of the vocabulary. That is what makes
a seed stable whether tokens are drafted or not. Ten rounds: seven already pass BigCrush, ten are the published
margin and the default of Triton's `tl.philox`, whose integers are these:

    key      (seed & 0xFFFFFFFF, seed >> 32)
    counter  (index // 4, position, stream, 0)
    word     index % 4

A word r becomes u = (r + 1/2) / 2^32, exact in float64 and never 0 or 1. Gumbel noise is -log(-log1p(-u)), in float64,
then rounded: the largest values come from u near 0, where the grid is 2^-32. A token is drawn with its exact
probability up to that grid, so what can be wrong is at most the total mass of tokens below 2^-33 each: 1.5e-5
for a vocabulary of 128k made of nothing else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import Tensor

from specdec.transfer import to_device

ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_GRID = 2.0**-32
_BLOCK_ROWS, _BLOCK_ELEMENTS, _KEPT_ELEMENTS = 16, 1 << 16, 1 << 23
"""How much noise is drawn at once, at most, and how much of it is kept."""

Word = TypeVar("Word", int, Tensor)


class Stream(IntEnum):
    """What noise is used for. Different streams are independent."""

    TARGET = 0
    """The target's own sample; under the coupled rule the drafter draws with it too."""
    DRAFT = 1
    """The drafter's draw under the rejection rule."""
    ACCEPT = 2
    """The accept draw of the rejection rule."""
    RESIDUAL = 3
    """The recovered or bonus token of the rejection rule."""


@cache
def has_triton() -> bool:
    """Whether Triton's kernels can be had beside the torch ones, which are the same functions and slower."""
    return find_spec("triton") is not None


def philox4x32(
    key: tuple[Word, Word], counter: tuple[Word, Word, Word, Word], rounds: int = ROUNDS
) -> tuple[Word, Word, Word, Word]:
    """Four words below 2^32 from a key and a counter of such words (ints, or int64 tensors that broadcast)."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(rounds):
        # An int64 product wraps, but its 64 bits are those of the unsigned one; masks drop the copied sign. Low words
        # are not multiplied before they are masked with others, so their own mask can wait.
        even, odd = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (odd >> 32 ^ (c1 ^ k0)) & _MASK, odd
        c2, c3 = (even >> 32 ^ (c3 ^ k1)) & _MASK, even
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1 & _MASK, c2, c3 & _MASK


def uniform(seed: int, position: int, stream: Stream) -> float:
    """One number in (0, 1), a float32: word 0 of index 0. Host integers beat a hundred tiny kernels here."""
    word = philox4x32((seed & _MASK, seed >> 32), (0, position, int(stream), 0))[0]
    return min((word + 0.5) * _GRID, 1 - 2.0**-24)  # the largest float32 below 1: rounding must not reach 1


def gumbel(
    seeds: Sequence[int],
    positions: Sequence[int],
    count: int,
    stream: Stream,
    width: int,
    device: torch.device,
) -> Tensor:
    """Standard Gumbel noise [B, count, width] fp32; row (b, j) belongs to seeds[b] and positions[b] + j."""
    if device.type == "cuda" and has_triton():
        from specdec.kernels.choose import gumbel as kernel

        where = to_device([list(seeds), list(positions)], device)
        return kernel(where[0], where[1], count, int(stream), width)
    rows = [*zip(seeds, positions, strict=True)]
    if device.type != "cpu":
        return _drawn(rows, count, stream, width, device)
    # Out of blocks that are drawn whole: of a row's time on a CPU most is for the many small steps, the rows after it
    # will be asked for next, and those of rejected drafts again.
    size = min(max(1, _BLOCK_ELEMENTS // width), _BLOCK_ROWS)
    blocks = (count + size - 2) // size + 1  # that a row may touch
    worth = len(rows) == 1 or size * width >= _BLOCK_ELEMENTS // 2  # else the steps, not the numbers, take the time
    if worth and len(rows) * blocks * size * width <= _KEPT_ELEMENTS:
        return torch.stack([_ahead(seed, start, count, size, stream, width) for seed, start in rows])
    some = max(1, _BLOCK_ELEMENTS // max(count * width, 1))  # what fits a core's cache
    each = (rows[at : at + some] for at in range(0, len(rows), some))
    return torch.cat([_drawn(part, count, stream, width, device) for part in each])


def _ahead(seed: int, start: int, count: int, size: int, stream: Stream, width: int) -> Tensor:
    """Noise [count, width] of one row, out of blocks of so many positions."""
    first, last = start // size, (start + max(count, 1) - 1) // size
    blocks = [_kept.block(seed, index, size, stream, width) for index in range(first, last + 1)]
    whole = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return whole[start - first * size :][:count]


class _Kept:
    """The blocks that were asked for last, by all engines of the process."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[int, int, int, Stream, int], Tensor] = OrderedDict()
        self._elements = 0
        self._lock = threading.Lock()

    def block(self, seed: int, index: int, size: int, stream: Stream, width: int) -> Tensor:
        """Noise [size, width] from position index * size on."""
        key = seed, index, size, stream, width
        with self._lock:
            if (found := self._blocks.get(key)) is not None:
                self._blocks.move_to_end(key)
                return found
        drawn = _drawn([(seed, index * size)], size, stream, width, torch.device("cpu"))[0]
        with self._lock:
            self._elements += 0 if key in self._blocks else drawn.numel()
            self._blocks[key] = drawn
            while self._elements > _KEPT_ELEMENTS and len(self._blocks) > 1:
                self._elements -= self._blocks.popitem(last=False)[1].numel()
        return drawn


_kept = _Kept()


def _drawn(rows: list[tuple[int, int]], count: int, stream: Stream, width: int, device: torch.device) -> Tensor:
    """Noise of rows (seed, first position), by torch's own steps."""
    host = [[seed & _MASK, seed >> 32, start] for seed, start in rows]
    low, high, start = to_device(host, device).view(-1, 3, 1, 1).unbind(1)
    block = torch.arange((width + 3) // 4, device=device)
    position = start + torch.arange(count, device=device).unsqueeze(-1)
    zero = torch.zeros((), dtype=torch.int64, device=device)
    words = philox4x32((low, high), (block, position, zero + int(stream), zero))
    flat = torch.stack(words, -1).flatten(-2)[..., :width]  # [B, count, width]
    u = flat.to(torch.float64).add_(0.5).mul_(_GRID)
    return u.neg_().log1p_().neg_().log_().neg_().to(torch.float32)
