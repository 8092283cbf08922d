"""Rows of a product that are the same to the bit, however many there are and whoever computes them.

oneDNN picks its kernel, and with it the order of a sum, by the processor, by the number of rows and by the number of
threads: some processors have one for a single row and one from 16 rows on, and many threads share the columns' sums
where there are few columns. So what this machine does is tried out: products learn how many rows they may compute at
once, and the model with how many threads. In 16-bit precision nothing is promised and nothing tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from specdec.runners.linear import PackedLinear

_ROWS = (2, 5, 8, 15, 16, 64)
_LEAST = 8
"""With fewer rows at once rounds would take several products."""
_SMALL = 8_000_000
"""Elements. The threads of larger products wait for each other too rarely to be changed in the middle of an answer."""


class _Seen(NamedTuple):
    alone: Tensor
    """[1, N], computed as one row."""
    rows: Tensor
    """[R, N]: so many at most are as in every smaller product."""


def settle(products: Iterable[PackedLinear], counts: Sequence[int]) -> tuple[int, ...]:
    """Those of the numbers of threads with which the products are the same to the bit, in the same order; the first
    alone where none are. From here on the products keep to what was found."""
    kinds: dict[tuple[int, int], list[PackedLinear]] = {}
    for product in products:
        if product.dtype == torch.float32:
            kinds.setdefault((product.columns, product.inner), []).append(product)
    small = all(columns * inner <= _SMALL for columns, inner in kinds)
    found: dict[int, list[_Seen]] = {}
    threads = torch.get_num_threads()
    try:
        for count in counts if small else counts[:1]:
            torch.set_num_threads(count)
            seen = [_look(alike[0]) for alike in kinds.values()]
            first = next(iter(found.values()), seen)
            if all(len(s.rows) >= _LEAST for s in seen) and all(map(_agree, seen, first)):
                found[count] = seen
    finally:
        torch.set_num_threads(threads)
    if found:
        for at, alike in enumerate(kinds.values()):
            _keep_to([seen[at] for seen in found.values()], alike)
    return tuple(found) or tuple(counts[:1])


def _keep_to(seen: Sequence[_Seen], alike: Sequence[PackedLinear]) -> None:
    for product in alike:
        product.most_rows = min(len(s.rows) for s in seen)
        product.pair_up = not all(torch.equal(s.alone, s.rows[:1]) for s in seen)


def _look(product: PackedLinear) -> _Seen:
    x = torch.randn(_ROWS[-1], product.inner, generator=torch.Generator().manual_seed(0))
    rows = product.multiply(x[: _ROWS[0]])
    for count in _ROWS[1:]:
        more = product.multiply(x[:count])
        if not torch.equal(more[: len(rows)], rows):
            break
        rows = more
    return _Seen(product.multiply(x[:1]), rows)


def _agree(one: _Seen, other: _Seen) -> bool:
    common = min(len(one.rows), len(other.rows))
    return torch.equal(one.rows[:common], other.rows[:common])
