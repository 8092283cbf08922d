"""The prefix cache gives back what was saved, to whoever shares it, within its bound."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from specdec.models.base import Batch, Model
from specdec.models.loading import load_model
from specdec.models.prefixes import PrefixTree
from specdec.models.state import shared_prefix
from tests.decoding.toy import TOKEN_BYTES, ToyModel
from tests.models import models


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def tree(model: ToyModel, limit: int) -> PrefixTree:
    found = PrefixTree(model.keys_values)
    found.limit = limit * TOKEN_BYTES
    return found


def write(model: ToyModel, slot: int, tokens: list[int]) -> None:
    """What a forward over these tokens leaves in the slot of a toy: the tokens themselves."""
    model.cache[slot] = -1
    model.cache[slot, : len(tokens)] = torch.tensor(tokens)


def saved(model: ToyModel, cache: PrefixTree, tokens: list[int]) -> None:
    write(model, 0, tokens)
    cache.save(0, tokens)


def restored(model: ToyModel, cache: PrefixTree, tokens: list[int], held: int = 0) -> int:
    write(model, 1, tokens[:held])
    reached = cache.restore(1, tokens, held)
    assert model.cache[1, :reached].tolist() == tokens[:reached]
    return reached


def test_sequences_that_branch_share_what_they_share() -> None:
    model = ToyModel()
    cache = tree(model, 100)
    saved(model, cache, [1, 2, 3, 4, 5])
    saved(model, cache, [1, 2, 3, 9])
    saved(model, cache, [1, 2])
    assert cache.tokens == 6
    for tokens, reach in (([1, 2, 3, 4, 5, 6], 5), ([1, 2, 3, 9, 9], 4), ([1, 2, 8], 2), ([7], 0), ([], 0)):
        assert restored(model, cache, tokens) == reach
    assert restored(model, cache, [1, 2, 3, 4, 5], held=4) == 5
    assert restored(model, cache, [1, 2, 3, 7, 8], held=4) == 4


def test_the_least_recently_used_goes_first_and_the_bound_holds() -> None:
    model = ToyModel()
    cache = tree(model, 10)
    for first in (10, 20, 30):
        saved(model, cache, [first, 1, 2])
    assert restored(model, cache, [10, 1, 2]) == 3
    saved(model, cache, [40, 1])
    assert cache.tokens == 8
    assert restored(model, cache, [20, 1, 2]) == 0
    assert restored(model, cache, [10, 1, 2]) == 3
    saved(model, cache, list(range(100, 130)))
    assert cache.tokens == 10
    assert restored(model, cache, list(range(100, 130))) == 10
    saved(model, cache, [*range(100, 110), 5])  # its own path is not evicted for it
    assert restored(model, cache, [*range(100, 110), 5]) == 10


def test_nothing_is_kept_where_nothing_may_be() -> None:
    model = ToyModel()
    cache = tree(model, 0)
    saved(model, cache, [1, 2, 3])
    assert (cache.tokens, restored(model, cache, [1, 2, 3])) == (0, 0)


def test_where_memory_runs_out_what_is_kept_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of the copies that keeping a branch takes."""
    for copies in range(3):
        model = ToyModel()
        cache = tree(model, 100)
        saved(model, cache, [1, 2, 3, 4, 5])
        write(model, 0, [1, 2, 9])
        left, clone = iter(range(copies)), torch.Tensor.clone

        def short(tensor: torch.Tensor, left: Iterator[int] = left, clone: Any = clone) -> torch.Tensor:
            if next(left, None) is None:
                raise torch.OutOfMemoryError
            found: torch.Tensor = clone(tensor)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "clone", short)
            with pytest.raises(torch.OutOfMemoryError):
                cache.save(0, [1, 2, 9])
        assert restored(model, cache, [1, 2, 3, 4, 5]) == 5
        saved(model, cache, [1, 2, 9])
        assert (restored(model, cache, [1, 2, 3, 4, 5]), restored(model, cache, [1, 2, 9])) == (5, 3)
        assert cache.tokens == 6


def test_random_sequences_against_brute_force() -> None:
    """Whatever was saved and still fits is found at full length; the size is that of the tree's tokens."""
    rng, model = random.Random(0), ToyModel()
    roomy, narrow = tree(model, 10_000), tree(model, 40)
    seen: list[list[int]] = []
    for _ in range(300):
        tokens = [rng.randrange(3) for _ in range(rng.randrange(1, 14))]
        assert restored(model, roomy, tokens) == max((shared_prefix(s, tokens) for s in seen), default=0)
        assert restored(model, narrow, tokens) <= restored(model, roomy, tokens)
        for cache in (roomy, narrow):
            saved(model, cache, tokens)
        seen.append(tokens)
        assert roomy.tokens == len({tuple(s[:i]) for s in seen for i in range(1, len(s) + 1)})
        assert narrow.tokens <= 40


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gpt2", "gemma2-window"])
def test_a_restored_slot_goes_on_as_the_model_would(kind: str, tmp_path: Path) -> None:
    reference = models.build(kind)
    model: Model = load_model(models.save(reference, tmp_path), device="cpu", context=64, slots=3)
    cache, ids = model.state.prefixes, models.tokens(1, 40)
    cache.limit = 1 << 20
    model.run(Batch(ids[:, :30], [0], [0], 0))
    cache.save(0, ids[0, :30].tolist())
    other = torch.cat((ids[:, :20], models.tokens(1, 20, seed=9)), 1)
    for tokens, reach in ((ids, 30), (other, 20)):
        model.run(Batch(models.tokens(1, 40, seed=5), [2], [0], 0))
        assert cache.restore(2, tokens[0].tolist(), 0) == reach
        found = model.run(Batch(tokens[:, reach:], [2], [reach], 1)).logits
        models.close(found, models.full(reference, tokens)[:, -1:])
