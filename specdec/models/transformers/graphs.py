"""transformers' models on a GPU, their decode passes captured in graphs.

A graph cannot grow its views as a sequence grows, so here every pass attends to all that a slot can hold, under a mask
made on the device. A model may not bear that (its own masks, a wait for the device inside a pass), so it is tried when
it is loaded and left as it is if it does not give the model's own logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from specdec.models.base import DECODE_ROWS, Batch, DeviceModel, ModelInfo, Pass
from specdec.models.graphs import GraphInputs, Graphs, bucket, rows_to_capture, smallest
from specdec.models.transformers.cache import Places
from specdec.models.transformers.model import TransformersModel

_WIDTHS = (1, 2, 4, 6, 8, 12, DECODE_ROWS)
_FIRST = (1, 6, DECODE_ROWS)
"""Tokens of one sequence in a round, for which there are graphs from the start."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What tells one graph from another."""

    rows: int
    width: int
    features: tuple[int, ...] = ()


class CapturedModel:
    """Decode passes of `inner` as graphs; longer ones as they are (see `base.Model`). Its cache has one slot more, for
    rows that only fill up a graph."""

    device: DeviceModel | None = None

    def __init__(self, inner: TransformersModel, graphs: Graphs[_Shape, Pass]) -> None:
        self.inner, self._graphs = inner, graphs
        self.state, self.ends = inner.state, inner.ends
        self._sizes = rows_to_capture(inner.info.slots)
        self._inputs = GraphInputs(inner.info.slots, inner.info.device, torch.int64)
        self.info: ModelInfo = replace(inner.info, backend="transformers, graphs", captured=True)

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        rows, count = batch.tokens.shape
        if count > DECODE_ROWS or max(batch.starts) + count > self.inner.limit:
            return self.inner.run(batch)
        wanted = _Shape(bucket(rows, self._sizes), bucket(count, _WIDTHS), batch.features)
        self._graphs.miss(wanted)
        size, width = smallest(
            self._graphs, rows, count, self._sizes, _WIDTHS, lambda size, width: _Shape(size, width, batch.features)
        )
        shape = _Shape(size, width, batch.features)
        held, where = self._inputs.fill(batch.tokens, batch.slots, batch.starts, shape.rows, shape.width)
        found = self._graphs.run(shape, lambda: self._record(held, where, shape.features))
        logits = found.logits[:rows, count - batch.keep : count].clone()
        features = None if found.features is None else found.features[:rows, :count].clone()
        return Pass(logits, features)

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        """See `base.Model.warm_up`: plain decoding, and some rounds of one sequence."""
        shapes = [*((rows, 1) for rows in self._sizes), *((1, width) for width in _FIRST[1:])]
        for rows, width in shapes:
            self._make(_Shape(rows, width, features))

    def prepare(self) -> bool:
        """See `base.Model.prepare`."""
        if (wanted := self._graphs.wanted) is None:
            return False
        self._make(wanted)
        return True

    def _make(self, shape: _Shape) -> None:
        held, where = self._inputs.idle(shape.rows, shape.width)
        self._graphs.make(shape, lambda: self._record(held, where, shape.features))

    def _record(self, tokens: Tensor, where: Tensor, features: tuple[int, ...]) -> Pass:
        """Logits [B, M, V]. What fills up beyond the model's last position stays on it, and is overwritten later."""
        cache, device = self.inner.cache, self.info.device
        steps = torch.arange(tokens.shape[1], device=device)
        positions = (where[1].unsqueeze(1) + steps).clamp(max=self.inner.limit - 1)
        hidden = torch.arange(cache.capacity, device=device) > positions.unsqueeze(-1)
        mask = torch.zeros(hidden.shape, dtype=self.info.dtype, device=device)
        mask = mask.masked_fill_(hidden, torch.finfo(self.info.dtype).min).unsqueeze(1)
        cache.places = Places(where[0], positions)
        try:
            options = {"past_key_values": cache, "attention_mask": mask, "position_ids": positions}
            return self.inner.forward(tokens, tokens.shape[1], features, **options)[0]
        finally:
            cache.places = None
