"""Keys and values of earlier sequences, kept to be used again: a radix tree over token ids.

A node holds the tokens of one edge, and their keys and values, copied out of a slot of a runner; sequences that branch
share the nodes up to there. The tree is bounded in tokens, and the leaf that was not used for longest goes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from torch import Tensor

from specdec.models.base import Runner


@dataclass(slots=True, eq=False)
class _Node:
    tokens: list[int]
    kept: tuple[Tensor, ...]
    """As `Runner.keys_values` gives it, [..., T, D]."""
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    """By their first token."""
    used: int = 0


class PrefixCache:
    """What one runner computed before. `limit`: how many tokens are kept. Called by the engine's worker only."""

    def __init__(self, runner: Runner, limit: int) -> None:
        self._runner, self._limit = runner, limit
        self._root = _Node([], (), None)
        self._leaves: set[_Node] = set()
        self._clock = count(1)
        self.size = 0
        """Tokens kept now."""

    def save(self, slot: int, tokens: list[int]) -> None:
        """Keep what the slot holds: the keys and values of `tokens`."""
        node, at = self._root, 0
        for child, shared in self._path(tokens):
            node, at = child, at + shared
            if at < len(tokens) and shared < len(child.tokens):
                node = self._split(child, shared)
        rest = tokens[at : at + self._room(len(tokens) - at, node)]
        if rest:
            views = self._runner.keys_values(slot, at, at + len(rest))
            self._attach(_Node(rest, tuple(view.clone() for view in views), node, used=next(self._clock)))

    def restore(self, slot: int, tokens: list[int], held: int) -> int:
        """Copy the longest known prefix of `tokens` into the slot, which holds `held` of them already; returns how
        many of them it holds then."""
        at = 0
        for node, shared in self._path(tokens):
            skip, end = max(0, held - at), at + shared
            if skip < shared:
                for view, kept in zip(self._runner.keys_values(slot, at + skip, end), node.kept, strict=True):
                    view.copy_(kept[..., skip:shared, :])
            at = end
        return max(at, held)

    def _path(self, tokens: list[int]) -> Iterator[tuple[_Node, int]]:
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

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut a node in two; returns the upper one. Both copy their part, else either would keep all of it alive."""
        assert node.parent is not None
        upper = _Node(node.tokens[:at], tuple(k[..., :at, :].clone() for k in node.kept), node.parent)
        upper.used = node.used
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.parent = node.tokens[at:], upper
        node.kept = tuple(k[..., at:, :].clone() for k in node.kept)
        upper.children[node.tokens[0]] = node
        return upper

    def _attach(self, node: _Node) -> None:
        assert node.parent is not None
        node.parent.children[node.tokens[0]] = node
        self._leaves.discard(node.parent)
        self._leaves.add(node)
        self.size += len(node.tokens)

    def _room(self, wanted: int, keep: _Node) -> int:
        """Make room for `wanted` tokens below `keep`; returns for how many there is."""
        while self.size + wanted > self._limit and (others := self._leaves - {keep}):
            self._evict(min(others, key=lambda leaf: leaf.used))
        return max(0, min(wanted, self._limit - self.size))

    def _evict(self, leaf: _Node) -> None:
        parent = leaf.parent
        assert parent is not None
        del parent.children[leaf.tokens[0]]
        self._leaves.remove(leaf)
        self.size -= len(leaf.tokens)
        if parent.parent is not None and not parent.children:
            self._leaves.add(parent)


def bytes_per_token(runner: Runner) -> int:
    """What the keys and values of one token take."""
    return sum(view.nbytes for view in runner.keys_values(0, 0, 1))


def shared_prefix(a: list[int], b: list[int]) -> int:
    """How many leading tokens two sequences share."""
    least = min(len(a), len(b))
    if a[:least] == b[:least]:
        return least
    return next(i for i in range(least) if a[i] != b[i])
