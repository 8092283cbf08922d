from __future__ import annotations

import random
import time

import pytest

from specdec.drafters import lookup
from specdec.drafters.base import Drafter
from specdec.drafters.lookup import LookupDrafter
from specdec.drafters.suffix import SuffixAutomaton

from .rounds import context, propose, round_of


def longest_earlier_suffix(tokens: list[int]) -> tuple[int, int]:
    """(length, index of the last token of its latest earlier occurrence), by trying everything."""
    best = (0, -1)
    for length in range(1, len(tokens)):
        suffix = tokens[-length:]
        ends = [e for e in range(length - 1, len(tokens) - 1) if tokens[e + 1 - length : e + 1] == suffix]
        if not ends:
            break
        best = (length, ends[-1])
    return best


def random_tokens(seed: int, longest: int = 60) -> list[int]:
    rng = random.Random(seed)
    alphabet = rng.choice([1, 2, 3, 5])
    return [rng.randrange(alphabet) for _ in range(rng.randrange(1, longest))]


def test_automaton_finds_the_longest_suffix() -> None:
    for seed in range(300):
        tokens, index = random_tokens(seed), SuffixAutomaton()
        for i, token in enumerate(tokens):
            index.extend([token])
            assert (index.match_length, index.match_end) == longest_earlier_suffix(tokens[: i + 1]), (seed, i)


def test_automaton_follows_another_text() -> None:
    for seed in range(300):
        tokens, other, index = random_tokens(seed), random_tokens(seed + 1000), SuffixAutomaton()
        for token in tokens:
            index.extend([token])
        state = length = 0
        for i, token in enumerate(other):
            state, length = index.follow(state, length, token)
            read = other[: i + 1]
            substrings = {tuple(tokens[a:b]) for a in range(len(tokens)) for b in range(a, len(tokens) + 1)}
            assert length == max(n for n in range(i + 2) if n == 0 or tuple(read[-n:]) in substrings)
            if length:
                end = index.end_of(state)
                assert tokens[end + 1 - length : end + 1] == read[-length:]


def test_is_a_drafter() -> None:
    drafter: Drafter = LookupDrafter()
    assert (drafter.name, drafter.free) == ("lookup", True)


def test_proposes_what_followed_the_longest_suffix() -> None:
    for seed in range(300):
        tokens = random_tokens(seed)
        length, end = longest_earlier_suffix(tokens)
        repeated = list(tokens)
        while length >= 2 and len(repeated) < len(tokens) + 7:
            repeated.append(repeated[end + 1 + len(repeated) - len(tokens)])
        assert propose(LookupDrafter(), context(tokens), k=7) == [repeated[len(tokens) :]], (seed, tokens)


def test_grows_with_the_sequence() -> None:
    for seed in range(50):
        tokens = random_tokens(seed)
        growing, drafter = context(tokens[:1]), LookupDrafter()
        for token in tokens[1:]:
            growing.tokens.append(token)
            assert propose(drafter, growing) == propose(LookupDrafter(), growing)


def test_repetition_is_proposed_at_full_length() -> None:
    assert propose(LookupDrafter(), context([9, 1, 2, 3, 1, 2, 3]), k=8) == [[1, 2, 3, 1, 2, 3, 1, 2]]
    assert propose(LookupDrafter(), context([5, 5, 5]), k=4) == [[5, 5, 5, 5]]


@pytest.mark.parametrize(
    ("tokens", "source"),
    [
        ([1, 2, 3], "lookup/none"),
        ([1, 2, 9, 1, 2], "lookup/2"),
        ([1, 2, 3, 9, 1, 2, 3], "lookup/3"),
        ([*range(5), 99, *range(5)], "lookup/4-7"),
        ([*range(9), 99, *range(9)], "lookup/8-15"),
        ([*range(40), 99, *range(40)], "lookup/16+"),
    ],
)
def test_source_says_how_long_the_match_is(tokens: list[int], source: str) -> None:
    drafts = LookupDrafter().propose(round_of([context(tokens)]), 3)
    assert drafts.sources == (source,)
    assert drafts.lengths == (0 if source.endswith("none") else 3,)
    assert drafts.probs is None


def test_rows_are_independent() -> None:
    contexts = [
        context([1, 2, 9, 1, 2], slot=0),
        context([7], sequence=2, slot=3),
        context([4, 4, 4], sequence=3, slot=1),
    ]
    assert propose(LookupDrafter(), *contexts, k=2) == [[9, 1], [], [4, 4]]


def test_a_match_of_one_token_is_none() -> None:
    assert propose(LookupDrafter(), context([2, 9, 2]), k=2) == [[]]
    assert propose(LookupDrafter(), context([1, 2, 9, 1, 2]), k=2) == [[9, 1]]


def test_a_new_sequence_in_the_slot_starts_afresh() -> None:
    drafter = LookupDrafter()
    old = context([1, 2, 3, 1, 2])
    assert propose(drafter, old, k=1) == [[3]]
    assert propose(drafter, context([8, 1, 2], sequence=2), k=1) == [[]]
    drafter.release(old)  # late: its slot has another sequence by now
    assert len(drafter._indexes) == 1
    drafter.release(context([], sequence=2))
    assert not drafter._indexes


def test_a_long_prompt_is_indexed_over_several_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_MAX_CATCH_UP", 4)
    drafter, long = LookupDrafter(), context([1, 2, 3] * 3)
    assert [propose(drafter, long, k=2) for _ in range(4)] == [[[]], [[]], [[1, 2]], [[1, 2]]]


def test_no_room_for_drafts() -> None:
    assert propose(LookupDrafter(), context([1, 1, 1]), k=0) == [[]]


def test_cost_per_token() -> None:
    """Printed, not asserted: machines differ."""
    rng = random.Random(0)
    for name, tokens in {
        "random": [rng.randrange(50) for _ in range(20_000)],
        "one token": [1] * 20_000,
        "period": [*range(100)] * 200,
    }.items():
        growing, drafter = context(tokens[:1]), LookupDrafter()
        start = time.perf_counter()
        for token in tokens:
            growing.tokens.append(token)
            drafter.propose(round_of([growing]), 8)
        micros = (time.perf_counter() - start) / len(tokens) * 1e6
        print(f"lookup, {name}: {micros:.1f} us per token committed and proposed for")  # noqa: T201
