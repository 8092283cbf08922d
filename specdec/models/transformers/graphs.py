"""transformers' models on a GPU, their decode passes captured in graphs.

A graph cannot grow its views as a sequence grows, so here every pass attends to all that a slot can hold, under a mask
made on the device. A model may not bear that (its own masks, a wait for the device inside a pass), so it is tried when
it is loaded and left eager if it does not give the model's own logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from specdec.models.base import Runner, RunnerInfo
from specdec.models.graphs import Graphs, bucket, rows_to_capture, to_device
from specdec.models.transformers.model import FAILURES, HFRunner, agree, smallest_window
from specdec.models.eager.model import DECODE_ROWS

_WIDTHS = (1, 2, 4, 6, 8, 12, DECODE_ROWS)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of a captured pass go: slots [B] and positions [B, M], on the device."""

    slots: Tensor
    positions: Tensor


class GraphedRunner:
    """Decode passes of an `HFRunner` as graphs; longer ones as they are (see `base.Runner`). Its cache has one slot
    more, for rows that only fill up a graph."""

    def __init__(self, inner: HFRunner, graphs: Graphs) -> None:
        self.inner, self._graphs = inner, graphs
        self._spare = inner.info.slots
        self._sizes = rows_to_capture(inner.info.slots)
        self._inputs: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.info: RunnerInfo = replace(inner.info, mode="graphs")

    def forward(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """See `base.Runner.forward`."""
        batch, count = tokens.shape
        if count > DECODE_ROWS or max(starts) + count > self.inner.limit:
            return self.inner.forward(tokens, slots, starts, keep)
        rows, width = bucket(batch, self._sizes), bucket(count, _WIDTHS)
        held, where = self._filled(tokens, slots, starts, rows, width)
        logits = self._graphs.run((rows, width), lambda: self._record(held, where))
        return logits[:batch, count - keep : count].float()

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `base.Runner.keys_values`."""
        return self.inner.keys_values(slot, start, end)

    def probe(self, tokens: Tensor, truth: Tensor) -> bool:
        """Whether captured passes, and replayed ones, give the logits `truth` [1, M, V] of `tokens` [1, M]."""
        found = []
        for _ in range(2):  # captured, then replayed
            self.forward(tokens[:, :2], [0], [0], 0)
            found.append(self.forward(tokens[:, 2:], [0], [2], tokens.shape[1] - 2))
        return all(agree(logits, truth[:, 2:], self.info.dtype) for logits in found)

    def _filled(
        self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], rows: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """The graph's own inputs: tokens [rows, width], and [2, rows] of slots and starts."""
        device, empty = self.info.device, rows - len(slots)
        if (rows, width) not in self._inputs:
            shapes = ((rows, width), (2, rows))
            held, where = (torch.zeros(shape, dtype=torch.int64, device=device) for shape in shapes)
            self._inputs[rows, width] = held, where
        held, where = self._inputs[rows, width]
        held[: tokens.shape[0], : tokens.shape[1]].copy_(tokens)
        where.copy_(to_device([[*slots, *[self._spare] * empty], [*starts, *[0] * empty]], device))
        return held, where

    def _record(self, tokens: Tensor, where: Tensor) -> Tensor:
        """Logits [B, M, V]. What fills up beyond the model's last position stays on it, and is overwritten later."""
        cache, device = self.inner.cache, self.info.device
        steps = torch.arange(tokens.shape[1], device=device)
        positions = (where[1].unsqueeze(1) + steps).clamp(max=self.inner.limit - 1)
        hidden = torch.arange(cache.capacity, device=device) > positions.unsqueeze(-1)
        mask = torch.zeros(hidden.shape, dtype=self.info.dtype, device=device)
        mask = mask.masked_fill_(hidden, torch.finfo(self.info.dtype).min).unsqueeze(1)
        cache.places = Places(where[0], positions)
        try:
            found = self.inner.model(
                tokens, past_key_values=cache, use_cache=True, attention_mask=mask, position_ids=positions
            )
        finally:
            cache.places = None
        logits: Tensor = found.logits
        return logits


def with_graphs(runner: HFRunner, tokens: Tensor, truth: Tensor) -> Runner:
    """The same model with graphs, if it bears them."""
    window = smallest_window(runner.model.config)
    if not runner.places or (window is not None and window < runner.limit):
        return runner
    graphed = GraphedRunner(runner, Graphs())
    try:
        fits = graphed.probe(tokens, truth)
    except FAILURES:
        fits = False
    return graphed if fits else runner
