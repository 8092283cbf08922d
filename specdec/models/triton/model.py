"""A Llama-family model on a GPU, by kernels in graphs.

Every pass, prefill too, goes through `decode.Decoder`, so a token's logits, keys and values are the same bits
however it
was computed: alone or among others, in whichever chunk, behind a prefix that was computed for another request.
There is one graph for each (rows, tokens) that occurs, padded up to a few sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from specdec.kernels.tiles import Tiles
from specdec.models.base import RunnerInfo
from specdec.models.triton.decoder import Decoder
from specdec.models.graphs import Graphs, bucket, rows_to_capture, to_device
from specdec.models.eager.model import DECODE_ROWS, LlamaRunner

PREFILL = 256
"""Tokens of one pass, at most: longer ones are cut."""
_WIDTHS = (1, 2, 4, 6, 8, 12, 16, DECODE_ROWS, 32, 64, 128, PREFILL)


class CudaRunner:
    """One model over slots (see `base.Runner`). The inner runner's cache has one slot more, for rows that only fill up
    a graph."""

    def __init__(self, inner: LlamaRunner, graphs: Graphs) -> None:
        slots = inner.info.slots
        self.inner, self.graphs = inner, graphs
        self.spare = slots
        self.sizes = rows_to_capture(slots)
        """Rows for which there are graphs."""
        self.tiles = Tiles(_gpu(inner.info.device))
        self.decoder = Decoder(inner, slots, PREFILL, self.tiles)
        held = inner.info.cache_bytes + self.decoder.nbytes
        self.info: RunnerInfo = replace(inner.info, mode="graphs", cache_bytes=held)
        self._inputs: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    @property
    def capacity(self) -> int:
        return self.inner.capacity

    def forward(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """See `base.Runner.forward`."""
        count = tokens.shape[1]
        if max(starts) + count > self.capacity:
            raise ValueError(f"positions up to {max(starts) + count}; a slot holds {self.capacity}")
        if count > DECODE_ROWS and len(slots) > 1:
            each = zip(torch.split(tokens, 1), slots, starts, strict=True)
            return torch.cat([self.forward(row, [slot], [start], keep) for row, slot, start in each])
        found = []
        for at, part in zip(range(0, count, PREFILL), torch.split(tokens, PREFILL, 1), strict=True):
            left = count - at - part.shape[1]
            wanted = min(max(keep - left, 0), part.shape[1])
            found.append(self._pass(part, slots, [start + at for start in starts], wanted))
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def warm_up(self) -> None:
        """Run the passes that prompts are read in. Where that was never done Triton first compiles their kernels."""
        for width in _WIDTHS:
            if DECODE_ROWS < width <= self.capacity:
                self.forward(torch.zeros(1, width, dtype=torch.int64), [self.spare], [0], 1)

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `base.Runner.keys_values`."""
        return self.inner.keys_values(slot, start, end)

    def _pass(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """Up to PREFILL tokens of one row, or up to DECODE_ROWS of several. The result stays valid."""
        batch, count = tokens.shape
        rows, width = bucket(batch, self.sizes), bucket(count, _WIDTHS)
        if max(starts) + width > self.capacity:
            width = count  # at the end of a slot there is no room to fill up
        held, where = self._filled(tokens, slots, starts, rows, width)
        last = where[2] if keep == 1 else None
        logits = self.graphs.run(
            (id(self), rows, width, min(keep, 2)),
            lambda: self.decoder(held, where[0], where[1], last, logits=keep > 0),
        )
        return (logits[:batch] if keep < 2 else logits[:batch, count - keep : count]).clone()

    def _filled(
        self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], rows: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """The graph's own inputs: tokens [rows, width] int64, and [3, rows] int32 of slots, starts and which token is
        the row's last. Rows and tokens beyond those given are any."""
        device, empty = self.info.device, rows - len(slots)
        if (rows, width) not in self._inputs:
            self._inputs[rows, width] = (
                torch.zeros(rows, width, dtype=torch.int64, device=device),
                torch.zeros(3, rows, dtype=torch.int32, device=device),
            )
        held, where = self._inputs[rows, width]
        held[: tokens.shape[0], : tokens.shape[1]].copy_(tokens)
        placed = [[*slots, *[self.spare] * empty], [*starts, *[0] * empty], [tokens.shape[1] - 1] * rows]
        where.copy_(to_device(placed, device, torch.int32))
        return held, where


def _gpu(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
