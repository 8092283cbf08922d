"""A suffix automaton over a growing list of tokens.

Blumer et al. 1985, "The smallest automaton recognizing the subwords of a text": every substring is a path from the
root, built online in amortised constant time per token and linear memory. The suffix link of the newest state is the
longest suffix that occurred before, which is all that lookup asks for.
"""

from __future__ import annotations

from collections.abc import Iterable

_HOPS = 32
"""How many shorter suffixes learn of their newest occurrence with each token; the rest keep an older one."""


class SuffixAutomaton:
    """Substrings of the tokens so far. State 0 is the root, the empty string."""

    def __init__(self) -> None:
        self._next: list[dict[int, int]] = [{}]
        self._link: list[int] = [-1]
        self._length: list[int] = [0]
        self._end: list[int] = [-1]
        self._last = 0
        self.size = 0
        """Tokens so far."""
        self.match_length = 0
        """Length of the longest suffix that also ended earlier; 0 when there is none."""
        self.match_end = -1
        """Index of the token with which that suffix last ended before (one of the latest)."""

    def extend(self, tokens: Iterable[int]) -> None:
        """Append tokens, and find the longest suffix that occurred before."""
        following, link, length, end = self._next, self._link, self._length, self._end
        for here, token in enumerate(tokens, self.size):
            state, at = len(length), self._last
            following.append({})
            link.append(0)
            length.append(here + 1)
            end.append(here)
            while at >= 0 and token not in following[at]:
                following[at][token] = state
                at = link[at]
            if at >= 0:
                target = following[at][token]
                link[state] = target if length[target] == length[at] + 1 else self._split(at, token, target)
            match = link[state]
            self._last, self.size = state, here + 1
            self.match_length, self.match_end = length[match], end[match]
            for _ in range(_HOPS):
                if match <= 0:
                    break
                end[match] = here
                match = link[match]

    def _split(self, at: int, token: int, target: int) -> int:
        """Give the shorter strings of `target`, which now end in one more place, a state of their own."""
        following, link, clone = self._next, self._link, len(self._length)
        following.append(dict(following[target]))
        link.append(link[target])
        self._length.append(self._length[at] + 1)
        self._end.append(self._end[target])
        link[target] = clone
        while at >= 0 and following[at].get(token) == target:
            following[at][token] = clone
            at = link[at]
        return clone

    def follow(self, state: int, length: int, token: int) -> tuple[int, int]:
        """Matching statistics: the state and length of the longest suffix of another text that is a substring
        here, one token on. Start with (0, 0)."""
        following = self._next
        while state and token not in following[state]:
            state = self._link[state]
            length = self._length[state]
        follower = following[state].get(token)
        return (0, 0) if follower is None else (follower, length + 1)

    def end_of(self, state: int) -> int:
        """Index of the token with which the strings of a state end, in one of their occurrences."""
        return self._end[state]
