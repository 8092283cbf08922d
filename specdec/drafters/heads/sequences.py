"""A head over whole sequences at once, with masks in place of a cache: what training needs. Gradients flow.

told = SequenceKeys(family, positions)
...extend over the target's features...     # DFlash: body.keep(index, fused, told.rows(positions))
...step or filled over told.rows(positions, mask)...
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.models.families.base import ModelFamily
from specdec.models.rope import Rope


@dataclass(slots=True, eq=False)
class SequenceKeys:
    """Keys and values of one sequence that are kept from pass to pass, by layer."""

    family: ModelFamily
    rope: Rope
    held: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """[T, G, D] each."""

    @classmethod
    def of(cls, family: ModelFamily, length: int, device: torch.device) -> SequenceKeys:
        """For positions below `length`."""
        return cls(family, Rope(*family.rope, length, device))

    def rows(self, positions: Tensor, mask: Tensor | None = None, *, keep: bool = False) -> SequenceRows:
        """Rows at `positions` [R] int64. `mask` [R, T + R] bool: which keys each sees, of those held and then of the
        rows' own; `keep`: theirs are held from then on."""
        return SequenceRows(self, positions, mask, keep)


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """The rows of a pass over a whole sequence (a `layers.HeadAttention`)."""

    keys: SequenceKeys
    positions: Tensor
    mask: Tensor | None
    kept: bool

    def rotate(self, x: Tensor) -> Tensor:
        """See `layers.HeadAttention.rotate`."""
        rope = self.keys.rope
        return rope.rotate(x, rope.cos[self.positions], rope.sin[self.positions])

    def keep(self, index: int, keys: Tensor, values: Tensor) -> None:
        """See `layers.HeadAttention.keep`."""
        self.keys.held[index] = self._joined(index, keys, values)

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `layers.HeadAttention.attend`."""
        every = self._joined(index, keys, values)
        if self.kept:
            self.keys.held[index] = every
        q, k, v = (x.transpose(0, 1) for x in (queries, *every))  # [heads, rows, D]
        found = F.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=self.mask, enable_gqa=self.keys.family.group > 1
        )
        return found[0].transpose(0, 1).flatten(1)

    def _joined(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if (held := self.keys.held.get(index)) is None:
            return keys, values
        return torch.cat((held[0], keys)), torch.cat((held[1], values))
