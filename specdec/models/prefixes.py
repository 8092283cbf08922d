"""What earlier sequences computed, kept to be used again.

`PrefixTree` keeps keys and values, token by token: a radix tree over token ids. A node holds the tokens of one edge,
and their keys and values, copied out of a slot; sequences that branch share the nodes up to there.
`Snapshots` keeps whole states of models whose state cannot be cut: each serves those sequences that begin with all of
its tokens. Both are bounded in bytes, and what was not used for longest goes first.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from torch import Tensor

from specdec.models.state import OwnSlots, shared_prefix

KeysValues = Callable[[int, int, int], tuple[Tensor, ...]]
"""Views [..., end - start, D] of the keys and values that a slot holds at positions start to end."""


@dataclass(slots=True, eq=False)
class _TreeNode:
    tokens: list[int]
    kept: tuple[Tensor, ...]
    """As `KeysValues` gives it, [..., T, D]."""
    parent: _TreeNode | None
    children: dict[int, _TreeNode] = field(default_factory=dict)
    """By their first token."""
    used: int = 0


class PrefixTree(OwnSlots):
    """Keys and values of one model (see `state.Prefixes`)."""

    def __init__(self, keys_values: KeysValues) -> None:
        self._keys_values = keys_values
        self._root = _TreeNode([], (), None)
        self._leaves: set[_TreeNode] = set()
        self._clock = count(1)
        self.limit = 0
        self.tokens = 0

    def reachable(self, slot: int, length: int) -> int:  # noqa: ARG002
        """See `state.Prefixes.reachable`: keys and values are cut anywhere."""
        return length

    def wipe(self, slot: int) -> None:
        """See `state.Prefixes.wipe`."""
        for held in self._keys_values(slot, 0, sys.maxsize):
            held.zero_()

    def save(self, slot: int, tokens: list[int]) -> None:
        """See `state.Prefixes.save`."""
        node, at = self._root, 0
        for child, shared in self._path(tokens):
            node, at = child, at + shared
            if at < len(tokens) and shared < len(child.tokens):
                node = self._split(child, shared)
        if at == len(tokens):
            return
        if rest := tokens[at : at + self._make_room(len(tokens) - at, node)]:
            kept = tuple(view.clone() for view in self._keys_values(slot, at, at + len(rest)))
            node.children[rest[0]] = leaf = _TreeNode(rest, kept, node, used=next(self._clock))
            self._leaves.discard(node)
            self._leaves.add(leaf)
            self.tokens += len(rest)

    def restore(self, slot: int, tokens: list[int], held: int) -> int:
        """See `state.Prefixes.restore`."""
        at = 0
        for node, shared in self._path(tokens) if self.tokens else ():
            skip, end = max(0, held - at), at + shared
            if skip < shared:
                for view, kept in zip(self._keys_values(slot, at + skip, end), node.kept, strict=True):
                    view.copy_(kept[..., skip:shared, :])
            at = end
        return max(at, held)

    def _path(self, tokens: list[int]) -> Iterator[tuple[_TreeNode, int]]:
        """The nodes along `tokens`, each with how many of its own tokens they share; only the last may share less than
        all."""
        node, at, now = self._root, 0, next(self._clock)
        while at < len(tokens) and (child := node.children.get(tokens[at])):
            child.used = now
            shared = shared_prefix(child.tokens, tokens[at : at + len(child.tokens)])
            complete = shared == len(child.tokens)
            yield child, shared
            if not complete:
                return
            node, at = child, at + shared

    def _split(self, node: _TreeNode, at: int) -> _TreeNode:
        """Cut a node in two; returns the upper one. Both copy their part, else either would keep all of it alive."""
        assert node.parent is not None
        above, below = (tuple(k[..., part, :].clone() for k in node.kept) for part in (slice(at), slice(at, None)))
        # nothing was changed until here, where memory may run out
        upper = _TreeNode(node.tokens[:at], above, node.parent, used=node.used)
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.kept, node.parent = node.tokens[at:], below, upper
        upper.children[node.tokens[0]] = node
        return upper

    def _make_room(self, wanted: int, keep: _TreeNode) -> int:
        """Room for `wanted` tokens below `keep`; returns for how many there is."""
        size = sum(view.nbytes for view in self._keys_values(0, 0, 1))
        limit = self.limit // max(size, 1)
        while self.tokens + wanted > limit and (others := self._leaves - {keep}):
            leaf = min(others, key=lambda leaf: leaf.used)
            parent = leaf.parent
            assert parent is not None
            del parent.children[leaf.tokens[0]]
            self._leaves.remove(leaf)
            self.tokens -= len(leaf.tokens)
            if parent.parent is not None and not parent.children:
                self._leaves.add(parent)
        return max(0, min(wanted, limit - self.tokens))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole state after `length` tokens."""

    state: object
    length: int
    nbytes: int


class Snapshotted(Protocol):
    """A model whose state is kept whole."""

    def kept(self, slot: int) -> list[int]:
        """After how many tokens there is a state that the slot can go on from, longest first."""
        ...

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """The state after `length` tokens, which is one of `kept`."""
        ...

    def resume(self, slot: int, snapshot: Snapshot) -> None:
        """Make this the slot's state."""
        ...


class Snapshots(OwnSlots):
    """States of one model at places where sequences may go on differently (see `state.Prefixes`)."""

    def __init__(self, model: Snapshotted) -> None:
        self._model = model
        self._kept: OrderedDict[tuple[int, ...], Snapshot] = OrderedDict()
        self._bytes = 0
        self.limit = 0
        self.tokens = 0
        """How many tokens the states kept stand for. A number of its own: it is read while the worker saves."""

    def reachable(self, slot: int, length: int) -> int:
        """See `state.Prefixes.reachable`."""
        return next((kept for kept in self._model.kept(slot) if kept <= length), 0)

    def wipe(self, slot: int) -> None:
        """See `state.Prefixes.wipe`."""
        self._model.resume(slot, Snapshot(None, 0, 0))

    def save(self, slot: int, tokens: list[int]) -> None:
        """See `state.Prefixes.save`. The latest state may lie before the end of `tokens`."""
        length = self.reachable(slot, len(tokens))
        key = tuple(tokens[:length])
        if not length or not self.limit:
            return
        if key not in self._kept:
            self._kept[key] = self._model.snapshot(slot, length)
            self._bytes += self._kept[key].nbytes
            self.tokens += length
        self._kept.move_to_end(key)
        while self._bytes > self.limit:
            self.drop(next(iter(self._kept)))

    def drop(self, key: tuple[int, ...]) -> None:
        """Forget the state after these tokens."""
        dropped = self._kept.pop(key)
        self._bytes -= dropped.nbytes
        self.tokens -= dropped.length

    def restore(self, slot: int, tokens: list[int], held: int) -> int:
        """See `state.Prefixes.restore`."""
        fitting = [k for k in self._kept if held < len(k) <= len(tokens) and k == tuple(tokens[: len(k)])]
        if not fitting:
            return held
        best = max(fitting, key=len)
        self._kept.move_to_end(best)
        self._model.resume(slot, self._kept[best])
        return len(best)
