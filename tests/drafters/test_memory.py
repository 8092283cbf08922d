from __future__ import annotations

import random

import pytest

from specdec.drafters.base import DraftContext, Drafter
from specdec.drafters.memory import MemoryDrafter

from .rounds import context, propose, round_of


def after(*answers: list[int], limit: int = 1000) -> MemoryDrafter:
    """A drafter that has seen these answers, to prompts of one token."""
    drafter = MemoryDrafter(limit)
    for answer in answers:
        drafter.release(written(answer))
    return drafter


def written(answer: list[int]) -> DraftContext:
    return context([99, *answer], prompt=1)


def source(drafter: MemoryDrafter, tokens: list[int]) -> str:
    return drafter.propose(round_of([context(tokens)]), 4).sources[0]


def test_is_a_drafter() -> None:
    drafter: Drafter = MemoryDrafter(10)
    assert (drafter.name, drafter.free) == ("memory", True)


def test_an_earlier_answer_is_gone_on_with() -> None:
    drafter = after([1, 2, 3, 4, 5, 6])
    assert propose(drafter, context([7, 1, 2, 3])) == [[4, 5, 6]]
    assert propose(drafter, context([7, 1, 2, 3]), k=2) == [[4, 5]]
    assert propose(drafter, context([2, 3])) == propose(drafter, context([4, 5, 6])) == [[]]
    assert propose(drafter, context([1, 2, 3]), k=0) == [[]]


def test_prompts_are_not_remembered() -> None:
    drafter = MemoryDrafter(100)
    drafter.release(context([1, 2, 3, 4, 5, 8], prompt=5))
    assert drafter.size == 0


def test_what_most_often_followed_is_proposed_as_far_as_most_agree() -> None:
    drafter = after([1, 2, 3, 4, 9], [0, 1, 2, 3, 4, 8], [1, 2, 3, 7, 7], [5, 1, 2, 3, 4, 9, 6])
    assert propose(drafter, context([1, 2, 3])) == [[4, 9, 6]]
    assert propose(after([1, 2, 3, 4], [0, 1, 2, 3, 5], [5, 1, 2, 3, 6]), context([1, 2, 3])) == [[]]


def test_of_equals_the_latest_wins() -> None:
    assert propose(after([1, 2, 3, 4], [0, 1, 2, 3, 5]), context([1, 2, 3])) == [[5]]


def test_the_longest_suffix_counts() -> None:
    drafter = after([6, 1, 2, 3, 4], [1, 2, 3, 5, 5], [0, 1, 2, 3, 5, 5])
    assert propose(drafter, context([6, 1, 2, 3])) == [[4]]
    assert source(drafter, [6, 1, 2, 3]) == "memory/4-7/once"
    assert source(drafter, [8, 1, 2, 3]) == "memory/3/often"
    assert source(drafter, [8, 8, 8]) == "memory/none"
    long = list(range(40))
    assert source(after(long), long[:20]) == "memory/16+/once"


def test_the_bound_holds_and_the_oldest_is_forgotten() -> None:
    drafter = after([1, 2, 3, 4, 5], [10, 11, 12, 13, 14], limit=10)
    drafter.release(written([1, 2, 3, 4, 5]))  # written again: nothing new, but the latest now
    assert drafter.size == 10
    drafter.release(written([20, 21, 22, 23]))
    assert drafter.size == 9
    assert propose(drafter, context([1, 2, 3])) == [[4, 5]]
    assert propose(drafter, context([10, 11, 12])) == [[]]
    drafter.release(written(list(range(30, 60))))
    assert drafter.size == 10


@pytest.mark.parametrize("limit", [0, 60])
def test_nothing_is_left_of_what_is_forgotten(limit: int) -> None:
    rng, drafter = random.Random(0), MemoryDrafter(limit)
    for _ in range(300):
        answer = [rng.randrange(4) for _ in range(rng.randrange(30))]
        drafter.release(written(answer))
        propose(drafter, context([*answer, *answer[:4]]))
        assert drafter.size == sum(map(len, drafter._texts.values())) <= limit
        assert sum(map(len, drafter._places.values())) == sum(len(t) - 3 for t in drafter._texts.values())
        assert len(drafter._numbers) == len(drafter._texts)


def test_who_does_not_want_to_be_remembered_is_not_and_does_not_remember() -> None:
    drafter = after([1, 2, 3, 4, 5, 6])
    apart = context([7, 1, 2, 3])
    apart.remember = False
    assert propose(drafter, apart) == [[]]
    secret = written([11, 12, 13, 14, 15])
    secret.remember = False
    drafter.release(secret)
    assert propose(drafter, context([11, 12, 13])) == [[]]
