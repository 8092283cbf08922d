"""Finds the fastest tile of a product by timing a few on this GPU.

Only the time is searched for: whichever tile is chosen, a row's bits depend on that row alone, but another tile sums in
another order. So a tile is chosen once for a GPU, and kept on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from triton.testing import do_bench_cudagraph

from specdec.kernels.packed import Packed, pack
from specdec.kernels.products import Scratch, product
from specdec.kernels.tiles import ROWS, Product, Tile, by_rule

_COLD = 256 * 2**20
"""Bytes of weights to go through in turn, so that none is found in the GPU's cache."""
_GAIN = 0.98
"""Only what is this much faster than the rule's tile is taken: the rest is noise."""


def candidates(wanted: Product) -> Iterator[Tile]:
    """The rule's tile and its neighbours, as far as they fit the product."""
    rule = by_rule(wanted)
    yield rule
    changes = [
        *({"split": split} for split in (rule.split * 2, max(rule.split // 2, 1))),
        {"inner": rule.inner // 2, "stages": 6},
        {"inner": rule.inner * 2, "stages": 3},
        {"columns": rule.columns * 2, "warps": 8},
        *({"ahead": lines} for lines in (0, 8, 16) if wanted.kind is None),
        *({"stages": stages} for stages in (rule.stages - 1, rule.stages + 2)),
    ]
    for change in changes:
        tile = replace(rule, **change)
        fits = wanted.inner % (tile.split * tile.inner) == 0 and tile.inner % wanted.unit == 0
        if tile != rule and 32 <= tile.inner <= 512 and fits:
            yield tile


@torch.inference_mode()
def fastest(wanted: Product, device: torch.device) -> Tile:
    """The candidate that reads W fastest for a few rows."""
    columns, inner, gated, dtype = wanted.columns, wanted.inner, wanted.gated, wanted.dtype
    weights = [_weight(wanted, device)]
    weights += [_weight(wanted, device) for _ in range(max(1, _COLD // weights[0].nbytes))]
    x = torch.randn(ROWS, inner, device=device).to(dtype)
    out = torch.empty(ROWS, columns, device=device, dtype=dtype)
    first, *others = candidates(wanted)
    programs = max(-(-columns // tile.columns) * tile.split for tile in (first, *others))
    widest = max(tile.columns for tile in (first, *others))
    scratch = Scratch.on(device, 2 * programs * widest * ROWS, programs)

    def seconds(tile: Tile) -> float:
        def run() -> None:
            for w in weights:
                product(x, w, out, tile, scratch, norm=x[0], gated=gated)

        try:
            return float(do_bench_cudagraph(run, rep=30))
        except Exception:  # noqa: BLE001 - a tile that this GPU has no room for fails in the compiler's own ways
            return float("inf")

    known = seconds(first) * _GAIN
    timed = [(seconds(tile), tile) for tile in others]
    best = min(timed, key=lambda one: one[0], default=(known, first))
    return best[1] if best[0] < known else first


def _weight(wanted: Product, device: torch.device) -> Tensor | Packed:
    rows, inner = wanted.columns * (1 + wanted.gated), wanted.inner
    if wanted.kind is None:
        return torch.randn(rows, inner, device=device).mul_(0.02).to(wanted.dtype)
    scales = torch.ones(rows, -(-inner // wanted.group) if wanted.group else 1, device=device, dtype=wanted.dtype)
    q = torch.randint(-8, 8, (rows, inner), device=device)
    q = q.to(torch.float8_e4m3fn) if wanted.kind == "fp8" else q if wanted.kind != "mxfp4" else q.to(torch.uint8) & 15
    return pack(wanted.kind, q, scales, group=wanted.group or None)
