"""What the device knows of each slot, so that a round can start without the host.

The host says what it knows of a sequence once; after that the device's own rounds keep it up, and only what a round
that the host led has added is sent again.
"""

from __future__ import annotations

import torch

from specdec.decoding.sequence import Running
from specdec.models.graphs import to_device
from specdec.sampling.batch import shaping_of
from specdec.sampling.state import SamplerState


class Mirror:
    """What the device knows of each slot (the last is the spare one)."""

    def __init__(self, slots: int, capacity: int, device: torch.device) -> None:
        self.tokens = torch.zeros(slots + 1, capacity, dtype=torch.int64, device=device)
        self.lengths = torch.full((slots + 1,), 2, dtype=torch.int64, device=device)
        self.seeds = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        self.top_k = torch.ones(slots + 1, dtype=torch.int64, device=device)
        self.shapes = torch.ones(4, slots + 1, dtype=torch.float32, device=device)
        """Temperature, top_p, log of min_p, and 1 where the row is greedy."""
        self._known: dict[int, tuple[int, int]] = {}
        """Per slot: whose tokens it holds, and how many of them are right."""

    def upload(self, row: Running, vocab: int) -> None:
        """Make the slot say what the host knows of the row."""
        slot, tokens = row.context.slot, row.tokens
        owner, right = self._known.get(slot, (-1, 0))
        if owner != row.context.sequence_id:
            right = 0
            self._parameters(slot, row.sampler, vocab)
        missing = to_device([tokens[right:]], self.tokens.device)[0]
        self.tokens[slot, right : len(tokens)] = missing
        self.lengths[slot] = len(tokens)
        self._known[slot] = row.context.sequence_id, len(tokens)

    def learn(self, row: Running, added: int) -> None:
        """The device has committed `added` tokens more than the row's host had."""
        self._known[row.context.slot] = row.context.sequence_id, len(row.tokens) + added

    def current(self, row: Running) -> bool:
        """Whether the slot says what the host knows, when no round is under way."""
        return self._known.get(row.context.slot) == (row.context.sequence_id, len(row.tokens))

    def _parameters(self, slot: int, state: SamplerState, vocab: int) -> None:
        shape = shaping_of(state)
        self.seeds[slot] = state.seed
        self.top_k[slot] = min(int(shape.top_k) or vocab, vocab)
        values = [[shape.temperature, shape.top_p, shape.log_min_p, float(state.greedy)]]
        self.shapes[:, slot] = to_device(values, self.tokens.device, torch.float32)[0]
