"""Logprobs of the raw distribution."""

from __future__ import annotations

import pytest
import torch

from specdec.sampling.logprobs import logprobs


def test_sorted_with_ties_by_id() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    exact = logits.log_softmax(-1)
    first, second = logprobs(logits, torch.tensor([2, 3]), 2)
    assert first[0] == pytest.approx(exact[0, 2].item())
    assert [i for i, _ in first[1]] == [1, 3]
    assert [i for i, _ in second[1]] == [0, 1]
    assert first[1][0][1] == pytest.approx(exact[0, 1].item())


def test_none_asked_for_and_more_than_there_are() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0]])
    assert logprobs(logits, torch.tensor([0]), 0)[0][1] == ()
    assert [i for i, _ in logprobs(logits, torch.tensor([0]), 20)[0][1]] == [1, 0, 2]
    assert logprobs(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), 5) == []
