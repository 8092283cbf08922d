"""Pages of one pool: what is shared is never written to, what is kept is found, and nothing is lost."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from specdec.models import pages
from specdec.models.pages import JUNK, PagedPrefixes, _PageNode
from specdec.models.state import shared_prefix
from tests.decoding.toy import PagedToy

PAGE = PagedToy.page


def pool(count: int = 40, slots: int = 3, window: int | None = None) -> tuple[PagedToy, PagedPrefixes]:
    toy = PagedToy(count, slots=slots, window=window)
    assert isinstance(toy.state.prefixes, PagedPrefixes)
    return toy, toy.state.prefixes


def read(toy: PagedToy, slot: int, tokens: list[int]) -> int:
    """Begin a sequence in a slot, and write what it lacks; returns how many of its tokens were known."""
    known = toy.state.begin(slot, tokens)
    held = toy.held(slot, known, torch.tensor(tokens[known:]))
    assert held.tolist() == tokens
    toy.state.commit(slot, len(tokens))
    return known


def check(toy: PagedToy, prefixes: PagedPrefixes) -> None:
    """Every page is free or held, by as many as are counted; every node's page holds its tokens."""
    nodes, found = [prefixes._root], list[_PageNode]()
    while nodes:
        node = nodes.pop()
        nodes += node.children.values()
        found += node.children.values()
        assert all(child.parent is node and node.children[child.tokens] is child for child in node.children.values())
    users = Counter(node.page for node in found) + Counter(page for held in prefixes._held for page in held)
    users[JUNK] = 0
    assert [users[page] for page in range(toy.count)] == prefixes._users
    assert sorted(prefixes._free) == [page for page in range(1, toy.count) if not users[page]]
    kept = {node for node in found if node.page != JUNK}
    assert kept == prefixes._kept
    assert all(toy.pages[node.page, : len(node.tokens)].tolist() == list(node.tokens) for node in kept)
    assert prefixes.tokens == sum(len(node.tokens) for node in kept)
    assert prefixes._leaves == {node for node in found if not node.children}
    for slot, held in enumerate(prefixes._held):
        assert toy.table[slot][: len(held)] == held
        assert not any(toy.table[slot][len(held) :])


def test_a_known_prefix_is_shared_and_only_its_last_page_copied() -> None:
    toy, prefixes = pool()
    first = list(range(10, 30))
    assert read(toy, 0, first) == 0
    toy.state.save(0, 18)
    assert read(toy, 1, [*first[:18], 7, 8]) == 18
    assert toy.copied == 1
    assert prefixes._held[1][:4] == prefixes._held[0][:4]
    assert not set(prefixes._held[1][4:]) & set(prefixes._held[0])
    assert read(toy, 2, [*first[:15], 5]) == 15
    assert toy.copied == 2
    for slot, tokens in ((0, first), (1, [*first[:18], 7, 8]), (2, [*first[:15], 5])):
        assert toy.held(slot, len(tokens), torch.tensor([9])).tolist() == [*tokens, 9]
    check(toy, prefixes)


def test_who_goes_on_in_a_page_that_is_kept_keeps_it_in_one() -> None:
    toy, prefixes = pool()
    tokens = list(range(10, 16))
    read(toy, 0, tokens)
    toy.state.save(0)
    tokens += [30, 31, 32]
    toy.held(0, 6, torch.tensor(tokens[6:]))
    toy.state.commit(0, 9)
    toy.state.leave(0)
    assert prefixes.tokens == 9
    assert toy.copied == 0
    assert read(toy, 1, [*tokens, 1]) == 9
    check(toy, prefixes)


def test_who_goes_back_below_what_is_kept_gets_pages_of_its_own() -> None:
    toy, prefixes = pool()
    tokens = list(range(10, 26))
    read(toy, 0, tokens)
    toy.state.save(0)
    toy.held(0, 9, torch.tensor([1, 2, 3]))
    check(toy, prefixes)
    assert read(toy, 1, [*tokens, 5]) == 16


def test_what_was_not_used_for_longest_goes_first_and_never_what_is_held() -> None:
    toy, prefixes = pool(count=1 + 8)
    for first in (10, 20, 30):
        read(toy, 0, list(range(first, first + 8)))
        toy.state.leave(0)
    assert prefixes.tokens == 24
    assert read(toy, 0, [*range(10, 18), 1]) == 8
    assert read(toy, 1, list(range(50, 58))) == 0
    check(toy, prefixes)
    assert prefixes.tokens < 24
    assert not prefixes.reserve(2, 0, 8 * PAGE)
    prefixes.leave(2)
    toy.state.leave(0)
    toy.state.leave(1)
    assert read(toy, 2, [*range(10, 18), 3]) == 8
    assert read(toy, 1, [*range(20, 28), 3]) < 8
    check(toy, prefixes)


def test_no_more_is_kept_than_may_be() -> None:
    toy, prefixes = pool()
    prefixes.limit = 3 * toy.page_bytes
    read(toy, 0, list(range(10, 40)))
    toy.state.leave(0)
    assert prefixes.tokens == 3 * PAGE
    read(toy, 0, list(range(50, 58)))
    toy.state.leave(0)
    assert prefixes.tokens == 3 * PAGE
    assert read(toy, 1, list(range(50, 59))) == 8
    prefixes.limit = 0
    toy.state.leave(1)
    read(toy, 1, list(range(70, 80)))
    toy.state.leave(1)
    check(toy, prefixes)


def test_a_window_gives_its_pages_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence four times as long as the pool; what it leaves is found behind its end, and no longer at its start."""
    monkeypatch.setattr(pages, "_BACK", 0)
    toy, prefixes = pool(count=1 + 5, window=9)
    tokens = [i % 50 for i in range(80)]
    for at in range(0, 80, 5):
        held = toy.held(0, at, torch.tensor(tokens[at : at + 5]))
        assert held[max(0, at - 8) :].tolist() == tokens[max(0, at - 8) : at + 5]
        toy.state.slots[0].tokens = tokens
        toy.state.commit(0, at + 5)
        toy.state.save(0)
        check(toy, prefixes)
    toy.state.leave(0)
    assert prefixes.restore(1, tokens[:10], 0) == 0
    assert prefixes.restore(1, tokens, 0) == 80
    assert toy.held(1, 80, torch.tensor([7]))[72:].tolist() == [*tokens[72:], 7]
    check(toy, prefixes)


@pytest.mark.parametrize("window", [None, 6])
def test_random_sequences(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots that begin, grow, go back, are kept and left, in a pool that is often full."""
    monkeypatch.setattr(pages, "_BACK", 0)
    rng = random.Random(0)
    toy, prefixes = pool(count=30 if window is None else 20, slots=4, window=window)
    written: list[list[int]] = [[] for _ in range(4)]
    kept: list[list[int]] = []
    for _ in range(1500):
        slot, act = rng.randrange(4), rng.random()
        tokens = written[slot]
        if act < 0.3 or not tokens:
            toy.state.leave(slot)
            kept.append(list(tokens))
            written[slot] = tokens = [rng.randrange(2) for _ in range(rng.randrange(2, 30))]
            known = toy.state.begin(slot, tokens)
            assert known <= max(shared_prefix(tokens, old) for old in (*kept, *written[:slot], *written[slot + 1 :]))
        else:
            known = len(tokens)
            tokens += [rng.randrange(2) for _ in range(rng.randrange(6))]
        if prefixes.reserve(slot, known, len(tokens)):
            if len(tokens) > known:
                seen = 0 if window is None else max(0, known - window + 1)
                assert toy.held(slot, known, torch.tensor(tokens[known:]))[seen:].tolist() == tokens[seen:]
            toy.state.commit(slot, len(tokens))
            if act > 0.8:
                toy.state.save(slot, rng.randrange(1, len(tokens) + 1))
        else:
            toy.state.leave(slot)
            written[slot] = []
        check(toy, prefixes)
