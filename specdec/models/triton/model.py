"""A model of a described family on a GPU, by kernels in graphs.

Every pass, prefill too, goes through `decoder.Decoder`, so a token's logits, keys and values are the same bits however
it was computed: alone or among others, in whichever chunk, behind a prefix that was computed for another request.
There is one graph for each (rows, tokens) that occurs, padded up to a few sizes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from specdec.kernels.tiles import Tiles
from specdec.models.base import DECODE_ROWS, Batch, ModelInfo, Pass, joined
from specdec.models.eager.model import EagerEnds, EagerModel
from specdec.models.graphs import GraphInputs, Graphs, bucket, rows_to_capture
from specdec.models.triton.decoder import Decoder

_WIDTHS = (1, 2, 4, 6, 8, 12, 16, DECODE_ROWS, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)
_KEPT = 256
"""Tokens of one pass, at most, where the logits of several are kept."""


class TritonModel:
    """One model over slots (see `base.Model` and `base.DeviceModel`). The cache of `inner` has one slot more, for rows
    that only fill up a graph."""

    def __init__(self, inner: EagerModel, graphs: Graphs[Pass]) -> None:
        self.inner, self.graphs = inner, graphs
        self.state, self.capacity = inner.state, inner.cache.capacity
        self.spare = inner.info.slots
        self.sizes = rows_to_capture(inner.info.slots)
        device = inner.info.device
        self.tiles = Tiles(torch.cuda.get_device_name(device) if device.type == "cuda" else "none")
        self.decode = Decoder(inner, inner.info.slots, self.tiles)
        held = inner.info.cache_bytes + self.decode.nbytes
        self.info: ModelInfo = replace(inner.info, backend="triton", cache_bytes=held, captured=True)
        self._inputs = GraphInputs(self.spare, device, torch.int32)
        self.ends = TritonEnds(inner, self.decode)

    @property
    def device(self) -> TritonModel:
        """See `base.Model.device`."""
        return self

    @property
    def graph_bytes(self) -> int:
        """See `base.DeviceModel.graph_bytes`."""
        return self.graphs.nbytes

    def run(self, batch: Batch) -> Pass:
        """See `base.Model.run`."""
        count = batch.tokens.shape[1]
        if max(batch.starts) + count > self.capacity:
            raise ValueError(f"positions up to {max(batch.starts) + count}; a slot holds {self.capacity}")
        if count > DECODE_ROWS and len(batch.slots) > 1:
            each = zip(torch.split(batch.tokens, 1), batch.slots, batch.starts, strict=True)
            rows = [Batch(row, [slot], [start], batch.keep, batch.features) for row, slot, start in each]
            return joined([self.run(row) for row in rows], 0)
        parts, longest = [], self.decode.longest if batch.keep < 2 else _KEPT
        for at in range(0, count, longest):
            part = batch.tokens[:, at : at + longest]
            left = count - at - part.shape[1]
            keep = min(max(batch.keep - left, 0), part.shape[1])
            starts = [start + at for start in batch.starts]
            parts.append(self._pass(Batch(part, batch.slots, starts, keep, batch.features)))
        return joined(parts, 1)

    def warm_up(self) -> None:
        """See `base.Model.warm_up`: the passes that prompts are read in. Where that was never done Triton first
        compiles their kernels."""
        for width in _WIDTHS:
            if DECODE_ROWS < width <= min(self.capacity, self.decode.longest):
                self.run(Batch(torch.zeros(1, width, dtype=torch.int64), [self.spare], [0], 1))

    def _pass(self, batch: Batch) -> Pass:
        """Up to `decode.longest` tokens of one row, or up to DECODE_ROWS of several. The result stays valid."""
        rows, count = batch.tokens.shape
        padded, width = bucket(rows, self.sizes), bucket(count, _WIDTHS)
        if max(batch.starts) + width > self.capacity:
            width = count  # at the end of a slot there is no room to fill up
        held, where = self._inputs.fill(batch.tokens, batch.slots, batch.starts, padded, width)
        last = where[2] if batch.keep == 1 else None
        found = self.graphs.run(
            (id(self), padded, width, min(batch.keep, 2), batch.features),
            lambda: self.decode(held, where[0], where[1], last, logits=batch.keep > 0, features=batch.features),
        )
        logits = found.logits[:rows] if batch.keep < 2 else found.logits[:rows, count - batch.keep : count]
        features = None if found.features is None else found.features[:rows, :count].clone()
        return Pass(logits.clone(), features)


class TritonEnds(EagerEnds):
    """Embedding and head, which is multiplied with by a kernel."""

    def __init__(self, model: EagerModel, decode: Decoder) -> None:
        super().__init__(model)
        self._decode = decode

    def unembed(self, x: Tensor) -> Tensor:
        """See `base.ModelEnds.unembed`."""
        return self._decode.unembed(x)
