"""EAGLE-3 (Li et al. 2025, "EAGLE-3: Scaling up Inference Acceleration of Large Language Models via Training-Time
Test") and P-EAGLE, which proposes all tokens in one pass.

A position's entry is made of the target's features there and of the token behind it. The first draft follows from the
newest entry; each further one from the head's own output in place of features, or, in P-EAGLE, from a learnt one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from specdec.drafters.heads.base import Choose, FeatureWindow
from specdec.drafters.heads.cache import CachedRows
from specdec.drafters.heads.layers import HeadAttention, read_layer
from specdec.drafters.heads.parts import HeadParts


class EagleHead:
    """See `base.Head`. Its first layer reads embedding and hidden state side by side."""

    def __init__(self, parts: HeadParts) -> None:
        config, tensors, width = parts.config, parts.tensors, parts.ends.hidden
        self.config, self.vocabulary = config, parts.vocabulary
        family, hidden, count = config.family, config.family.hidden, len(config.features)
        first = "midlayer" if "midlayer.hidden_norm.weight" in tensors else "layers.0"
        at = [first, *(f"layers.{i}" for i in range(1, family.layers))]
        layers = [read_layer(tensors, name, family, hidden * (2 if i == 0 else 1)) for i, name in enumerate(at)]
        self.body = parts.make_body(family, layers)
        self.fc = tensors.weight(["fc"], (hidden,), count * width)
        self.hidden_norm = tensors.tensor(f"{first}.hidden_norm.weight", hidden)
        self.norm = tensors.tensor("norm.weight", hidden)
        self._input_norms: list[Tensor] = []
        if config.switches.norm_before_fc:
            self._input_norms = [tensors.tensor("input_norm.weight", count * width)]
        elif config.switches.fc_norm:
            self._input_norms = [tensors.tensor(f"fc_norm.{i}.weight", width) for i in range(count)]

    def fused(self, features: Tensor) -> Tensor:
        """The target's features [R, n * H] as one hidden state [R, H]."""
        if self._input_norms:
            parts = features.chunk(len(self._input_norms), -1)
            features = torch.cat([self.body.norm(x, n) for x, n in zip(parts, self._input_norms, strict=True)], -1)
        return self.body.product(features, self.fc)

    def step(self, hidden: Tensor, tokens: Tensor, rows: HeadAttention) -> tuple[Tensor, Tensor]:
        """Hidden states [R, H] with the tokens [R] behind them -> the states that go on, and what the vocabulary's
        product takes."""
        body, layer, switches = self.body, self.body.layers[0], self.config.switches
        normed = body.norm(hidden, self.hidden_norm)
        joined = torch.cat((body.norm(self.vocabulary.embed(tokens), layer.input_norm), normed), -1)
        x = body.add_mlp(0, body.add_attention(0, normed if switches.norm_before_residual else hidden, joined, rows))
        for index in range(1, len(body.layers)):
            x = body.layer(index, x, rows)
        said = body.norm(x, self.norm)
        return (said if switches.norm_output else x), said

    def extend(self, window: FeatureWindow) -> None:
        """See `base.Head.extend`."""
        self._read(window)

    def propose(self, window: FeatureWindow, k: int, choose: Choose) -> None:
        """See `base.Head.propose`."""
        hidden, said = self._read(window)
        for j in range(k):
            tokens = choose(self.vocabulary.logits(said).unsqueeze(1), j)
            if j + 1 < k:  # drafts are kept only until true features come
                rows = CachedRows(window.cache, window.slots, window.behind + j, 1, window.end)
                hidden, said = self.step(hidden, tokens.flatten(), rows)

    def _read(self, window: FeatureWindow) -> tuple[Tensor, Tensor]:
        """Over the whole window; what came out at its end, [B, H] each."""
        batch, count = window.tokens.shape
        fused = self.fused(window.features.flatten(0, 1))
        found = self.step(fused, window.tokens.flatten(), window.rows)
        hidden, said = (window.at_last(x.view(batch, count, -1)) for x in found)
        return hidden, said


class ParallelEagleHead(EagleHead):
    """See `base.Head`. Positions to come stand as a mask token with a learnt feature."""

    def __init__(self, parts: HeadParts) -> None:
        super().__init__(parts)
        width = len(parts.config.features) * parts.ends.hidden
        self.mask_hidden = parts.tensors.tensor("mask_hidden", 1, 1, width)

    def propose(self, window: FeatureWindow, k: int, choose: Choose) -> None:
        """See `base.Head.propose`: one pass, whatever k."""
        batch, count = window.tokens.shape
        place = torch.arange(count + k - 1, device=window.tokens.device)
        ahead = place > window.last.unsqueeze(1)  # [B, W + k - 1]
        features = F.pad(window.features, (0, 0, 0, k - 1))
        features = torch.where(ahead.unsqueeze(-1), self.mask_hidden.to(features.dtype), features)
        tokens = F.pad(window.tokens, (0, k - 1)).masked_fill(ahead, self.config.mask_token)
        rows = CachedRows(window.cache, window.slots, window.starts, count + k - 1, window.end)
        said = self.step(self.fused(features.flatten(0, 1)), tokens.flatten(), rows)[1].view(batch, count + k - 1, -1)
        wanted = (window.last.unsqueeze(1) + place[:k]).unsqueeze(-1).expand(-1, -1, said.shape[-1])
        choose(self.vocabulary.logits(said.gather(1, wanted).flatten(0, 1)).view(batch, k, -1), 0)
