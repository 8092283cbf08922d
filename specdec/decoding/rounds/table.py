"""What the device knows of each slot, so that a round can start without the host.

The host says what it knows of a sequence once; after that the device's own rounds keep it up, and only what a round
that the host led has added is sent again. How much was sent is in the target's `SlotState`.
"""

from __future__ import annotations

import torch

from specdec.decoding.sequence import Running
from specdec.models.state import Slot
from specdec.transfer import to_device


class SlotTable:
    """One column a slot (the last is the spare one)."""

    def __init__(self, slots: int, capacity: int, device: torch.device) -> None:
        self.tokens = torch.zeros(slots + 1, capacity, dtype=torch.int64, device=device)
        self.lengths = torch.full((slots + 1,), 2, dtype=torch.int64, device=device)
        self.seeds = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        self.top_k = torch.ones(slots + 1, dtype=torch.int64, device=device)
        self.shapes = torch.ones(4, slots + 1, dtype=torch.float32, device=device)
        """Temperature, top_p, log of min_p, and 1 where the row is greedy."""
        self.shapes[2] = 0.0  # else nothing would be likely enough for rows that nobody uses

    def upload(self, held: Slot, row: Running, vocab: int) -> None:
        """Make the row's slot say what the host knows, when no round of the row is under way."""
        slot, tokens, known = row.context.slot, row.tokens, held.uploaded
        if known == len(tokens):
            return
        if known == 0:
            shape = row.sampler.shape
            self.seeds[slot] = row.sampler.seed
            self.top_k[slot] = min(int(shape.top_k) or vocab, vocab)
            values = [[shape.temperature, shape.top_p, shape.log_min_p, float(row.sampler.greedy)]]
            self.shapes[:, slot] = to_device(values, self.tokens.device, torch.float32)[0]
        self.tokens[slot, known : len(tokens)] = to_device([tokens[known:]], self.tokens.device)[0]
        self.lengths[slot] = held.uploaded = len(tokens)
