"""A model of a described family on a GPU, by kernels in graphs.

Every pass, prefill too, goes through `decoder.Decoder`, so a token's logits, keys and values are the same bits however
it was computed: alone or among others, in whichever chunk, behind a prefix that was computed for another request.
There are graphs for a few (rows, tokens), up to which passes are filled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from specdec.kernels.pages import PAGE
from specdec.kernels.tiles import Tiles
from specdec.models.base import DECODE_ROWS, Batch, ModelInfo, Pass, in_pieces, joined, kept_in
from specdec.models.eager.model import EagerEnds, EagerModel
from specdec.models.graphs import GraphInputs, Graphs, bucket, rows_to_capture, smallest
from specdec.models.pages import PagedPrefixes, PoolFull, pages_at_once
from specdec.models.state import SlotState
from specdec.models.triton.decoder import Decoder
from specdec.models.triton.pages import DevicePages, pages_of
from specdec.types.load import KvDtype

_WIDTHS = (1, 2, 4, 6, 8, 12, 16, DECODE_ROWS, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)
_KEPT = 256
"""Tokens of one pass, at most, where the logits of several are kept."""
_DECODE = tuple(width for width in _WIDTHS if width <= DECODE_ROWS)
_FIRST = (1, 6, 16)
"""Tokens of one sequence in a round of the host, for which there are graphs from the start."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What tells one graph from another."""

    rows: int
    width: int
    keep: int
    """Whose logits are kept: 0, 1 (the last token's) or 2 (all tokens')."""
    features: tuple[int, ...] = ()


class TritonModel:
    """One model over slots (see `base.Model` and `base.DeviceModel`): the weights of `inner`, and `pages` of keys and
    values, by default as many as its slots can hold. If there are fewer than one slot can hold, slots are shorter.
    `kv_dtype`: what pages hold."""

    def __init__(
        self,
        inner: EagerModel,
        graphs: Graphs[_Shape, Pass],
        pages: int | None = None,
        page: int = PAGE,
        kv_dtype: KvDtype = "auto",
    ) -> None:
        self.inner, self.graphs, info = inner, graphs, inner.info
        pages = info.slots * pages_of(inner.cache.capacity, page) if pages is None else pages
        window = inner.family.window
        whole = pages >= pages_at_once(inner.cache.capacity, page, window)
        self.capacity = inner.cache.capacity if whole else min(inner.cache.capacity, pages * page)
        self.spare = info.slots
        self.sizes = rows_to_capture(info.slots)
        kept = kept_in(kv_dtype, info.dtype)
        self.pages = DevicePages(inner.family, info.slots, self.capacity, pages + 1, kept, info.device, page)
        self.state = SlotState(info.slots, PagedPrefixes(self.pages, info.slots, window))
        self.tiles = Tiles(torch.cuda.get_device_name(info.device) if info.device.type == "cuda" else "none")
        self.decode = Decoder(inner, self.pages, self.tiles)
        held = self.pages.pool.nbytes + self.decode.nbytes
        self.info: ModelInfo = replace(
            info,
            context=self.capacity - DECODE_ROWS,
            shortened=self.capacity < inner.cache.capacity,
            backend="triton",
            cache_bytes=held,
            captured=True,
            kv_dtype=kv_dtype,
        )
        self._inputs = GraphInputs(self.spare, info.device, torch.int32)
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
        for slot, start in zip(batch.slots, batch.starts, strict=True):
            if not self.state.prefixes.reserve(slot, start, start + count):
                raise PoolFull(f"no page is free for the tokens {start} to {start + count} of slot {slot}")
        return in_pieces(batch, self.decode.longest if batch.keep < 2 else _KEPT, self._pass)

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        """See `base.Model.warm_up`: the passes of plain decoding and those that prompts are read in. Where that was
        never done Triton first compiles their kernels."""
        for rows in self.sizes:
            self._make(_Shape(rows, 1, 1, features))
        for width in _FIRST[1:]:
            self._make(_Shape(1, width, 2, features))
        for width in _WIDTHS:
            if DECODE_ROWS < width <= min(self.capacity, self.decode.longest):
                self._make(_Shape(1, width, 1, features))

    def prepare(self) -> bool:
        """See `base.Model.prepare`."""
        if (wanted := self.graphs.wanted) is None:
            return False
        self._make(wanted)
        return True

    def _make(self, shape: _Shape) -> None:
        held, where = self._inputs.idle(shape.rows, shape.width)
        self.graphs.make(shape, lambda: self._decoded(shape, held, where))

    def _pass(self, batch: Batch) -> Pass:
        """Up to `decode.longest` tokens of one row, or up to DECODE_ROWS of several. The result stays valid."""
        rows, count = batch.tokens.shape
        shape = self.shape_of(batch)
        held, where = self._inputs.fill(batch.tokens, batch.slots, batch.starts, shape.rows, shape.width)
        found = self.graphs.run(shape, lambda: self._decoded(shape, held, where))
        logits = (
            found.logits[:rows, : batch.keep] if batch.keep < 2 else found.logits[:rows, count - batch.keep : count]
        )
        features = None if found.features is None else found.features[:rows, :count].clone()
        return Pass(logits.clone(), features)

    def shape_of(self, batch: Batch) -> _Shape:
        """What a pass is filled up to."""
        rows, count = batch.tokens.shape
        wanted = _Shape(bucket(rows, self.sizes), bucket(count, _WIDTHS), min(batch.keep, 2), batch.features)
        if wanted.width <= self.capacity:
            self.graphs.miss(wanted)
        if wanted not in self.graphs and count <= DECODE_ROWS:
            size, width = smallest(
                self.graphs,
                rows,
                count,
                self.sizes,
                _DECODE,
                lambda size, width: replace(wanted, rows=size, width=width),
            )
            wanted = replace(wanted, rows=size, width=width)
        if wanted not in self.graphs and (last := replace(wanted, keep=1)) in self.graphs and not wanted.keep:
            wanted = last  # logits that nobody asks for cost less than launches one by one
        if max(batch.starts) + wanted.width > self.capacity:
            return replace(wanted, width=count)  # at the end of a slot there is no room to fill up
        return wanted

    def _decoded(self, shape: _Shape, held: Tensor, where: Tensor) -> Pass:
        last = where[2] if shape.keep == 1 else None
        return self.decode(held, where[0], where[1], last, logits=shape.keep > 0, features=shape.features)


class TritonEnds(EagerEnds):
    """Embedding and head, which is multiplied with by a kernel."""

    def __init__(self, model: EagerModel, decode: Decoder) -> None:
        super().__init__(model)
        self._decode = decode

    def unembed(self, x: Tensor) -> Tensor:
        """See `base.ModelEnds.unembed`."""
        return self._decode.unembed(x)
