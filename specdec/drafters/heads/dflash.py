"""DFlash ("DFlash: Block Diffusion for Flash Speculative Decoding", arXiv 2602.06036) and DFlash2: a block of mask
tokens behind the last token is filled in by one pass, whatever the number of drafts.

The target's features are no rows of that pass: each layer makes keys and values of them, which the block attends to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specdec.drafters.heads.base import Choose, FeatureWindow
from specdec.drafters.heads.cache import CachedRows
from specdec.drafters.heads.layers import HeadAttention, read_layer
from specdec.drafters.heads.parts import HeadParts


class BlockHead:
    """See `base.Head`: DFlash, and what those that add to it share."""

    def __init__(self, parts: HeadParts) -> None:
        config, tensors = parts.config, parts.tensors
        assert config.block is not None
        self.config, self.vocabulary, self.block = config, parts.vocabulary, config.block
        family, hidden = config.family, config.family.hidden
        layers = [read_layer(tensors, f"layers.{i}", family, hidden, config.selector) for i in range(family.layers)]
        self.body = parts.make_body(family, layers)
        self.fc = tensors.weight(["fc"], (hidden,), len(config.features) * parts.ends.hidden)
        self.hidden_norm = tensors.tensor("hidden_norm.weight", hidden)
        self.norm = tensors.tensor("norm.weight", hidden)
        self.mask = tensors.tensor("mask_embedding", hidden) if "mask_embedding" in tensors else None

    def fused(self, features: Tensor) -> Tensor:
        """The target's features [R, n * H] as what layers make keys and values of, [R, H]."""
        return self.body.norm(self.body.product(features, self.fc), self.hidden_norm)

    def filled(self, tokens: Tensor, rows: HeadAttention) -> Tensor:
        """What the vocabulary's product takes of each row [B, size, H] of blocks that begin with `tokens` [B]."""
        block, batch = self.block, tokens.shape[0]
        first = self.vocabulary.embed(tokens).unsqueeze(1)
        mask = self.mask
        if mask is None:
            mask = self.vocabulary.embed(torch.full_like(tokens[:1], self.config.mask_token))[0]
        x = torch.cat((first, mask.to(first.dtype).expand(batch, block.size - 1, -1)), 1).flatten(0, 1)
        x = x * block.embedding_scale if block.embedding_scale != 1 else x
        for index, layer in enumerate(self.body.layers):
            if layer.convolutions is None:
                x = self.body.layer(index, x, rows)
            else:
                x = self.body.convolved(index, x, rows, block.size)
        return self.body.norm(x, self.norm).view(batch, block.size, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of rows [B, M, H] -> [B, M, V]."""
        block = self.block
        scaled = hidden * block.multiplier if block.multiplier != 1 else hidden
        found = self.vocabulary.logits(scaled.flatten(0, 1)).view(*hidden.shape[:2], -1)
        return found if block.softcap is None else torch.tanh(found / block.softcap) * block.softcap

    def extend(self, window: FeatureWindow) -> None:
        """See `base.Head.extend`."""
        fused, rows = self.fused(window.features.flatten(0, 1)), window.rows
        for index in range(len(self.body.layers)):
            self.body.keep(index, fused, rows)

    def propose(self, window: FeatureWindow, k: int, choose: Choose) -> Tensor | None:
        """See `base.Head.propose`."""
        self.extend(window)
        block, first = self.block, int(not self.block.anchor)
        last = window.at_last(window.tokens)
        rows = CachedRows(
            window.cache,
            window.slots,
            window.behind,
            block.size,
            window.end,
            block=True,
            causal_windows=block.causal_windows,
        )
        return self.walk(self.filled(last, rows)[:, first : first + k], last.unsqueeze(1), choose)

    def walk(self, hidden: Tensor, last: Tensor, choose: Choose) -> Tensor | None:  # noqa: ARG002
        """Choose the drafts behind the token `last` [B, 1], given what came out of their rows [B, k, H]."""
        choose(self.logits(hidden), 0)
        return None


class SelectingHead(BlockHead):
    """DFlash2: of the likeliest tokens of a row that one which also goes well with the token before."""

    def __init__(self, parts: HeadParts) -> None:
        super().__init__(parts)
        config, tensors = parts.config, parts.tensors
        assert config.selector is not None
        selector, vocab, at = config.selector, config.family.vocab, "candidate_selector"
        self._top_k = selector.top_k
        self.predecessors = tensors.tensor(f"{at}.predecessor_codebook", vocab, selector.rank)
        self.successors = tensors.tensor(f"{at}.successor_codebook", vocab, selector.rank)
        self.projection = tensors.weight([f"{at}.hidden_projection"], (selector.rank,), config.family.hidden)

    def walk(self, hidden: Tensor, last: Tensor, choose: Choose) -> None:
        """See `BlockHead.walk`: one after another."""
        logits, projected = self.logits(hidden), self.projection(hidden.flatten(0, 1)).view(*hidden.shape[:2], -1)
        best = logits.topk(self._top_k, -1)
        known = self.predecessors.shape[0] - 1
        for j in range(hidden.shape[1]):
            ids, unary = best.indices[:, j], best.values[:, j]  # [B, K]
            context = self.predecessors[last.clamp(max=known)[:, 0]] * projected[:, j]  # [B, r]
            pair = (context.unsqueeze(1) * self.successors[ids.clamp(max=known)]).sum(-1)
            scores = torch.full_like(logits[:, j], float("-inf")).scatter_(-1, ids, unary + pair.float())
            last = choose(scores.unsqueeze(1), j)
