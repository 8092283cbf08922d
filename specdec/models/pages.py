"""Keys and values in pages of one pool: what the slots hold, and what earlier sequences left behind.

A slot takes pages as its sequence grows, and gives them back when the sequence leaves. Sequences that begin alike share
pages: a known prefix is taken over by reference, but for the last page, which is copied where it is not full, since
each sequence goes on in it differently.

What sequences left behind is a tree; each node is a page and the tokens in it. Such pages cost nothing: where no other
is free, the one that was not used for longest is given away.

Where every layer looks back through a window, a sequence needs no more than its newest pages. It gives back the others
once someone needs them, and what is known of their tokens stays, with a hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import torch

from specdec.models.state import shared_prefix

JUNK = 0
"""The page of positions that nobody holds: what fills up a pass is written there."""
_BACK = 128
"""Positions that a sequence may go back by: those of rounds on their way."""
_AHEAD = 2048
"""Positions that a pass writes, at most."""


class PoolFull(torch.OutOfMemoryError):
    """Every page is held by a sequence that runs."""


class PageMemory(Protocol):
    """Where pages lie, and where each slot's are looked up."""

    page: int
    """Tokens of one."""
    count: int
    """With the one for junk."""
    page_bytes: int

    def point(self, slot: int, first: int, pages: Sequence[int]) -> None:
        """These are the slot's pages from its `first` on."""
        ...

    def copy(self, source: int, target: int) -> None: ...


@dataclass(slots=True, eq=False)
class _PageNode:
    tokens: tuple[int, ...]
    page: int
    parent: _PageNode | None = None
    children: dict[tuple[int, ...], _PageNode] = field(default_factory=dict)
    """By their tokens."""
    used: int = 0
    depth: int = 0
    """How many nodes lie before it."""


def pages_at_once(length: int, page: int, window: int | None) -> int:
    """What a sequence of so many tokens needs, at most."""
    whole = -(-length // page)
    return whole if window is None else min(whole, -(-(window + _BACK + _AHEAD) // page) + 1)


class PagedPrefixes:
    """The pages of one model over `slots` (see `state.Prefixes`). `window`: how far back any of its layers looks."""

    apart = False

    def __init__(self, memory: PageMemory, slots: int, window: int | None = None) -> None:
        self._memory, self._window = memory, window
        self._held: list[list[int]] = [[] for _ in range(slots)]
        self._free = [page for page in range(memory.count) if page != JUNK]
        self._users = [0] * memory.count
        """How many slots and nodes hold each page."""
        self._shared = [0] * slots
        """How many of each slot's tokens others may read in its pages."""
        self._reached = [0] * slots
        """Where each slot is written next."""
        self._root = _PageNode((), JUNK)
        self._leaves: set[_PageNode] = set()
        self._clock = count(1)
        self._kept: set[_PageNode] = set()
        """Nodes with a page."""
        self.limit = memory.count * memory.page_bytes
        self.tokens = 0

    # ---- what slots take

    def reserve(self, slot: int, start: int, length: int) -> bool:
        """See `state.Prefixes.reserve`."""
        if slot >= len(self._held):  # the spare one: all of it is junk
            return True
        if start < self._shared[slot] and not self._part(slot, start):
            return False
        held, self._reached[slot] = self._held[slot], start
        before, needed = len(held), self._needed(length)
        while len(held) < needed and (page := self._take()) is not None:
            held.append(page)
        if len(held) > before:
            self._memory.point(slot, before, held[before:])
        return len(held) >= needed

    def fits(self, tokens: list[int], more: int, running: Iterable[tuple[int, int]]) -> bool:
        """See `state.Prefixes.fits`."""
        running = list(running)
        if self._window is None:
            most = sum(max(0, self._needed(length) - len(self._held[slot])) for slot, length in running)
            if self._needed(len(tokens) + more) + most <= len(self._free):
                return True  # whatever is shared, and whatever others could give away
        live = [held[self._first(reached) :] for held, reached in zip(self._held, self._reached, strict=True)]
        taken = {page for held in live for page in held}
        owed = sum(max(0, self._at_once(length) - len(live[slot])) for slot, length in running)
        shared = sum(len(node.tokens) == self._memory.page and node.page in taken for node, _ in self._path(tokens))
        wanted = self._at_once(len(tokens) + more) - (shared if self._window is None else 0)
        return wanted + owed <= self._memory.count - 1 - len(taken)

    def leave(self, slot: int) -> bool:
        """See `state.Prefixes.leave`."""
        held = self._held[slot]
        self._memory.point(slot, 0, [JUNK] * len(held))
        while held:
            self._drop(held.pop())
        self._shared[slot] = self._reached[slot] = 0
        return False

    def wipe(self, slot: int) -> None:
        """See `state.Prefixes.wipe`: nothing behind a sequence's end is ever used, so no page has to be cleared."""
        self.leave(slot)

    def _part(self, slot: int, start: int) -> bool:
        """Let the slot's pages from `start` on be its own, since it writes there what others do not expect."""
        held, first = self._held[slot], start // self._memory.page
        for index, page in enumerate(held[first : self._needed(self._shared[slot])], first):
            if self._users[page] > 1:
                if (own := self._take()) is None:
                    return False
                self._memory.copy(page, own)
                self._memory.point(slot, index, [own])
                held[index] = own
                self._drop(page)
        self._shared[slot] = start
        return True

    def _needed(self, length: int) -> int:
        return -(-length // self._memory.page)

    def _at_once(self, length: int) -> int:
        return pages_at_once(length, self._memory.page, self._window)

    def _first(self, reached: int) -> int:
        """The first page that a sequence may look at which goes on there."""
        return 0 if self._window is None else max(0, reached - _BACK - self._window + 1) // self._memory.page

    def _take(self) -> int | None:
        """A page that nobody else holds."""
        if not self._free and self._window is not None:
            self._look_no_further()
        if not self._free:
            nodes = self._leaves if self._window is None else self._kept
            idle = [node for node in nodes if self._users[node.page] == 1]
            if not idle:
                return None
            # of one sequence the first: its end is what the next one goes on from
            self._give_away(min(idle, key=lambda node: (node.used, node.depth)))
        page = self._free.pop()
        self._users[page] = 1
        return page

    def _look_no_further(self) -> None:
        """Every slot drops the pages that lie behind its window."""
        for slot, held in enumerate(self._held):
            behind = [index for index in range(min(self._first(self._reached[slot]), len(held))) if held[index] != JUNK]
            for index in behind:
                self._drop(held[index])
                held[index] = JUNK
            if behind:
                self._memory.point(slot, behind[0], [JUNK] * (behind[-1] + 1 - behind[0]))

    def _drop(self, page: int) -> None:
        if page == JUNK:
            return
        self._users[page] -= 1
        if not self._users[page]:
            self._free.append(page)

    # ---- what they leave behind

    def reachable(self, slot: int, length: int) -> int:  # noqa: ARG002
        """See `state.Prefixes.reachable`: a slot is begun anew, since others may hold its pages too."""
        return 0

    def save(self, slot: int, tokens: list[int]) -> None:
        """See `state.Prefixes.save`. The slot may go on in its last page: that changes nothing of these tokens."""
        node, now = self._root, next(self._clock)
        most = self.limit // self._memory.page_bytes
        self._shared[slot] = max(self._shared[slot], len(tokens))
        for chunk, page in zip(self._chunks(tokens), self._held[slot], strict=False):
            if (child := self._continued(node, chunk, page)) is not None:
                child.used = now
            lacks = page != JUNK and (child is None or (child.page == JUNK and child.tokens == chunk))
            while lacks and len(self._kept) >= most:
                others = [leaf for leaf in self._leaves if leaf.used != now]
                if not others:
                    return
                self._forget(min(others, key=lambda leaf: leaf.used))
            if child is None:
                child = node.children[chunk] = _PageNode(chunk, JUNK, node, used=now, depth=node.depth + 1)
                self._leaves.discard(node)
                self._leaves.add(child)
            if lacks:
                child.page = page
                self._users[page] += 1
                self._keep(child)
            node = child

    def restore(self, slot: int, tokens: list[int], held: int) -> int:  # noqa: ARG002
        """See `state.Prefixes.restore`."""
        self.leave(slot)
        mine, reached = self._held[slot], 0
        path, self._reached[slot] = self._whole(list(self._path(tokens)))
        first = self._first(self._reached[slot])
        for index, (node, shared) in enumerate(path):
            if index < first:
                mine.append(JUNK)
                reached += shared
                continue
            self._users[node.page] += 1  # else it might be given away for the copy of it
            page: int | None = node.page
            if shared < self._memory.page:
                if (page := self._take()) is not None:
                    self._memory.copy(node.page, page)
                self._drop(node.page)
            if page is None:
                break
            mine.append(page)
            reached += shared
            if shared == self._memory.page:
                self._shared[slot] = reached
        self._memory.point(slot, 0, mine)
        return reached

    def _whole(self, path: list[tuple[_PageNode, int]]) -> tuple[list[tuple[_PageNode, int]], int]:
        """As much of a path as a sequence can go on behind, since no page is missing that it looks at; and its
        tokens."""
        while path:
            reached = sum(shared for _, shared in path)
            first = self._first(reached)
            missing = [index for index, (node, _) in enumerate(path) if index >= first and node.page == JUNK]
            if not missing:
                return path, reached
            path = path[: missing[-1]]
        return path, 0

    def _path(self, tokens: list[int]) -> Iterable[tuple[_PageNode, int]]:
        """The nodes along `tokens`, each with how many of its own tokens they share; only the last may share less than
        a page."""
        node, now = self._root, next(self._clock)
        for chunk in self._chunks(tokens):
            child = node.children.get(chunk)
            if child is None and node.children:
                child = max(node.children.values(), key=lambda child: shared_prefix(child.tokens, chunk))
            shared = 0 if child is None else shared_prefix(child.tokens, chunk)
            if child is None or not shared:
                return
            child.used = now
            yield child, shared
            if shared < self._memory.page:
                return
            node = child

    def _chunks(self, tokens: list[int]) -> Iterator[tuple[int, ...]]:
        return (tuple(tokens[at : at + self._memory.page]) for at in range(0, len(tokens), self._memory.page))

    def _continued(self, node: _PageNode, chunk: tuple[int, ...], page: int) -> _PageNode | None:
        """The child that holds these tokens already, or held fewer of them in the same page."""
        if (found := node.children.get(chunk)) is not None:
            return found
        for child in node.children.values():
            if child.tokens[: len(chunk)] == chunk:
                return child
            if child.page == page != JUNK:
                del node.children[child.tokens]
                self.tokens -= len(child.tokens)
                child.tokens = chunk
                node.children[chunk] = child
                self._keep(child)
                return child
        return None

    def _keep(self, child: _PageNode) -> None:
        self._kept.add(child)
        self.tokens += len(child.tokens)

    def _forget(self, leaf: _PageNode) -> None:
        parent = leaf.parent
        assert parent is not None
        del parent.children[leaf.tokens]
        self._leaves.remove(leaf)
        self._give_away(leaf)
        if parent.parent is not None and not parent.children:
            self._leaves.add(parent)
            if parent.page == JUNK:
                self._forget(parent)

    def _give_away(self, node: _PageNode) -> None:
        """The node's page; a leaf goes with it, any other stays as a hole."""
        if node in self._leaves:
            self._forget(node)
        elif node.page != JUNK:
            self._kept.remove(node)
            self.tokens -= len(node.tokens)
            self._drop(node.page)
            node.page = JUNK
