"""The ends of a head: the target's embedding and head where it brings none, and a draft vocabulary if it has one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import HeadConfig
from specdec.errors import CheckpointCorrupt, UnsupportedModel
from specdec.models.base import ModelEnds, ModelInfo
from specdec.models.weights.base import Weight

_ROUNDED = 0.12
"""By which share rounding to four bits changes values, at most."""


class HeadVocabulary:
    """Tokens in and logits out, both of the target's ids.

    `own`: an embedding [V, H] of its own; `product`: H -> draft vocabulary, else the target's head; `ids` [draft
    vocabulary] int64: which of the target's tokens they are.
    """

    def __init__(
        self, ends: ModelEnds, vocab: int, own: Tensor | None, product: Weight | None, ids: Tensor | None
    ) -> None:
        self._ends, self._vocab, self._own, self._product, self.ids = ends, vocab, own, product, ids

    @classmethod
    def read(cls, tensors: HeadTensors, config: HeadConfig, ends: ModelEnds, target: ModelInfo) -> HeadVocabulary:
        """What the checkpoint brings."""
        family, product = config.family, None
        pruned = config.draft_vocab < min(family.vocab, target.vocab_size)
        ids = _target_ids(tensors, config.draft_vocab, target) if pruned else None
        if "lm_head.weight" in tensors:
            if tensors.learns or pruned or not tensors.readable or not _copied_head(tensors, ends, target):
                product = tensors.weight(["lm_head"], (config.draft_vocab,), family.hidden)
        elif pruned or family.hidden != ends.hidden:
            raise CheckpointCorrupt(
                f"{tensors.folder} lacks lm_head.weight; a head with {config.draft_vocab} tokens and hidden size "
                f"{family.hidden} needs its own, as {target.name} has {target.vocab_size} and {ends.hidden}"
            )
        own = _own_embedding(tensors, config, ends, target)
        known = target.vocab_size if own is None else own.shape[0]
        if config.mask_token >= known and "mask_embedding" not in tensors:
            raise UnsupportedModel(
                f"{tensors.folder}: its mask is token {config.mask_token}; {target.name} has {known}; expected a head "
                "that was trained for it"
            )
        return cls(ends, target.vocab_size, own, product, ids)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [...] int64 -> [..., H]."""
        if self._own is None:
            return self._ends.embed(tokens)
        return F.embedding(tokens.clamp(max=self._own.shape[0] - 1), self._own)

    def logits(self, x: Tensor) -> Tensor:
        """Normed x [R, H] -> [R, V] fp32, -inf for tokens that the head does not know."""
        return self.placed(self.own_logits(x), float("-inf"))

    def own_logits(self, x: Tensor) -> Tensor:
        """The same over the head's own tokens, [R, draft vocabulary]."""
        return self._ends.unembed(x) if self._product is None else self._product(x).float()

    def placed(self, found: Tensor, missing: float = 0.0) -> Tensor:
        """Values [R, draft vocabulary] where the target has them, [R, V]; those that are not there are `missing`."""
        if self.ids is not None:
            wide = found.new_full((found.shape[0], self._vocab), missing)
            return wide.index_copy(1, self.ids, found)
        beyond = self._vocab - found.shape[-1]
        return F.pad(found, (0, beyond), value=missing) if beyond > 0 else found[:, : self._vocab]


def _target_ids(tensors: HeadTensors, count: int, target: ModelInfo) -> Tensor:
    """The target's id of each draft token: `d2t` holds how far it is from the draft's."""
    offsets = tensors.raw("d2t")
    if tuple(offsets.shape) != (count,) or offsets.is_floating_point():
        found = f"{str(offsets.dtype).removeprefix('torch.')} {tuple(offsets.shape)}"
        raise CheckpointCorrupt(f"{tensors.folder}: d2t is {found}; expected {count} whole numbers")
    ids = offsets.long() + torch.arange(count)
    if int(ids.min()) < 0 or int(ids.max()) >= target.vocab_size:
        raise CheckpointCorrupt(
            f"{tensors.folder}: d2t leads to token {int(ids.max())}; expected ids below {target.vocab_size}, which is "
            f"the vocabulary of {target.name}"
        )
    return ids.to(target.device)


def _copied_head(tensors: HeadTensors, ends: ModelEnds, target: ModelInfo) -> bool:
    """Whether the checkpoint's head is the target's own: the same in its first columns."""
    stored, columns = tensors.raw("lm_head.weight"), min(8, ends.hidden)
    if tuple(stored.shape) != (target.vocab_size, ends.hidden):
        return False
    with torch.no_grad():
        theirs = ends.unembed(torch.eye(columns, ends.hidden, dtype=target.dtype, device=target.device))
    return _same(theirs.to(target.dtype), stored[:, :columns].T.to(target.device, target.dtype), ends)


def _same(theirs: Tensor, stored: Tensor, ends: ModelEnds) -> bool:
    """Whether these are the target's values, as far as rounding leaves them alike."""
    if not ends.rounded:
        return bool(torch.equal(theirs, stored))
    return bool((theirs.float() - stored.float()).norm() <= _ROUNDED * stored.float().norm())


def _own_embedding(tensors: HeadTensors, config: HeadConfig, ends: ModelEnds, target: ModelInfo) -> Tensor | None:
    """None where the checkpoint has none, only zeros (which stand for the target's), or a copy of the target's."""
    name, family = "embed_tokens.weight", config.family
    fitting = family.hidden == ends.hidden
    if name not in tensors or (fitting and tensors.readable and not bool(tensors.raw(name).any())):
        if fitting:
            return None
        raise CheckpointCorrupt(
            f"{tensors.folder} lacks {name}; a head of hidden size {family.hidden} needs its own, as that of "
            f"{target.name} has {ends.hidden}"
        )
    rows = tensors.raw(name).shape[0]
    if fitting and tensors.readable and rows <= target.vocab_size:
        ids = torch.arange(rows, device=target.device)
        stored = tensors.raw(name).to(target.device, target.dtype)
        if stored.shape[1] == ends.hidden and _same(ends.embed(ids), stored, ends):
            return None
    return tensors.tensor(name, family.vocab, family.hidden)
