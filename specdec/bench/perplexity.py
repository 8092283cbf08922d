"""How well a model foretells a text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from specdec.models.base import Batch, Model

STEP = 256
"""Tokens of a pass, whose logits are all kept."""


@torch.inference_mode()
def perplexity(model: Model, ids: Sequence[int]) -> float:
    """exp of the mean negative log-likelihood of each token after the first, in stretches of the model's context."""
    if len(ids) < 2:
        raise ValueError("a text of two tokens at least is needed")
    total, counted, device = 0.0, 0, model.info.device
    for begin in range(0, len(ids) - 1, model.info.context):
        stretch = torch.tensor(ids[begin : begin + model.info.context + 1], device=device)
        tokens, following = stretch[:-1], stretch[1:]
        for at in range(0, len(tokens), STEP):
            part, wanted = tokens[at : at + STEP], following[at : at + STEP]
            logits = model.run(Batch(part[None], [0], [at], len(part))).logits[0]
            total -= logits.log_softmax(-1).gather(1, wanted[:, None]).double().sum().item()
            counted += len(part)
    return math.exp(total / counted)
