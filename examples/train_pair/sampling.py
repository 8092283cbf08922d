"""Text from a model, for many prompts at once.

Contract: `continue_all(model, prompts, room, temperatures, stop)` gives one continuation for each prompt, cut at the
first stop token (which is kept). Plain sampling: nothing here speculates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .model import Cache, Llama


def _padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and how much padding each has."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
    return ids.to(device), torch.tensor([longest - len(p) for p in prompts], device=device)


def draw(logits: Tensor, temperatures: Tensor) -> Tensor:
    """One token a row, by Gumbel noise; temperature zero takes the best."""
    noise = -torch.log(-torch.log(torch.rand_like(logits, dtype=torch.float32).clamp(1e-9, 1 - 1e-7)))
    return (logits.float() + noise * temperatures[:, None]).argmax(-1)


@torch.no_grad()
def continue_all(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    room: int,
    temperatures: Sequence[float],
    stop: Sequence[int],
) -> list[list[int]]:
    """Continuations of up to `room` tokens."""
    device = next(model.parameters()).device
    ids, pad = _padded(prompts, device)
    count, longest, shape = *ids.shape, model.shape
    size = (shape.layers, count, shape.kv_heads, longest + room, shape.head)
    empty = torch.zeros(size, device=device, dtype=model.compute)
    cache = Cache(empty, empty.clone())
    heat, ends = torch.tensor(temperatures, device=device), torch.tensor(stop, device=device)
    keys = torch.arange(longest + room, device=device)
    shown = keys[None] >= pad[:, None]
    causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    sight = (shown[:, None, None, :longest] & causal) | torch.eye(longest, dtype=torch.bool, device=device)
    places = (torch.arange(longest, device=device)[None] - pad[:, None]).clamp(min=0)
    hidden = model(ids, sight, places, cache)[:, -1]
    made: list[Tensor] = []
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    for step in range(room):
        cache.used = longest + step
        token = draw(model.logits(hidden), heat)
        made.append(token)
        finished |= torch.isin(token, ends)
        if step + 1 == room or (step % 16 == 0 and bool(finished.all())):
            break
        where = (longest + step - pad)[:, None]
        hidden = model(token[:, None], shown[:, None, None, : longest + step + 1], where, cache)[:, -1]
    return [_cut(row, set(stop)) for row in torch.stack(made, 1).tolist()]


def _cut(tokens: list[int], stop: set[int]) -> list[int]:
    return next((tokens[: i + 1] for i, t in enumerate(tokens) if t in stop), tokens)
