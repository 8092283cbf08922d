"""The ends of a round on the device."""

from __future__ import annotations

import torch

from specdec.kernels.rounds import begin, settle


def test_begin_and_settle(device: torch.device) -> None:
    tokens = torch.arange(80, device=device).view(4, 20).clone()
    lengths = torch.tensor([5, 7, 9, 2], device=device)
    slots, stamps = torch.tensor([1, 2, 3], device=device), torch.zeros(3, dtype=torch.int64, device=device)
    pair, verify, starts = begin(slots, tokens, lengths, 3, stamps)
    assert pair.tolist() == [[25, 26], [47, 48], [60, 61]]
    assert verify[:, 0].tolist() == [26, 48, 61]
    assert starts.tolist() == [6, 8, 1]

    verify[:, 1:] = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], device=device)
    own = torch.tensor([[1, 2, 90, 91], [4, 5, 6, 92], [7, 8, 9, 93]], device=device)
    allowed = torch.tensor([3, 2, 3], device=device)
    result = settle(slots, allowed, tokens, lengths, verify, own, stamps).tolist()
    assert result[:-3] == [1, 2, 90, 91, 2, 1, 2, 3, 4, 5, 6, 92, 2, 4, 5, 6, 7, 8, 9, 93, 3, 7, 8, 9]
    assert lengths.tolist() == [
        5,
        10,
        12,
        2,
    ]  # two accepted and the target's own; the spare slot keeps nothing
    assert tokens[1, 7:11].tolist() == [1, 2, 90, 30]
    assert tokens[2, 9:13].tolist() == [4, 5, 6, 52]
    assert tokens[3, 2:4].tolist() == [62, 63]


def test_a_marked_token_is_told_and_kept_without_its_mark(device: torch.device) -> None:
    tokens = torch.arange(40, device=device).view(2, 20).clone()
    lengths, slots = torch.tensor([5, 0], device=device), torch.tensor([0], device=device)
    stamps, allowed = torch.zeros(3, dtype=torch.int64, device=device), torch.tensor([3], device=device)
    _, verify, _ = begin(slots, tokens, lengths, 3, stamps)
    verify[:, 1:] = torch.tensor([[1, 2, 3]], device=device)
    own = torch.tensor([[1, -1 - 2, 3, 4]], device=device)
    result = settle(slots, allowed, tokens, lengths, verify, own, stamps).tolist()
    assert result[:-3] == [1, -3, 3, 4, 1, 1, 2, 3]  # what was drafted is not accepted there
    assert tokens[0, 5:8].tolist() == [1, 2, 7]
    assert lengths.tolist() == [7, 0]


def test_a_round_without_drafts(device: torch.device) -> None:
    tokens, lengths = torch.zeros(2, 8, dtype=torch.int64, device=device), torch.tensor([3, 2], device=device)
    slots, stamps = torch.tensor([0], device=device), torch.zeros(3, dtype=torch.int64, device=device)
    _, verify, _ = begin(slots, tokens, lengths, 0, stamps)
    own = torch.tensor([[7]], device=device)
    result = settle(slots, slots, tokens, lengths, verify, own, stamps)
    assert result[:2].tolist() == [7, 0]
    assert lengths.tolist() == [4, 2]
    assert tokens[0].tolist() == [0, 0, 0, 7, 0, 0, 0, 0]
