"""The text of an answer, as it may be shown: whole characters, and never a part of a stop string.

Stop strings are found with one automaton (Aho and Corasick 1975), so the cost per character depends neither on how
many there are nor on how long they are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from specdec.text.detokenizer import Detokenizer, DetokenizerSource


class _StopAutomaton:
    """All stop strings as one trie with failure links. State 0 is the root."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.depth: list[int] = [0]
        self.longest: list[str | None] = [None]
        """Per state, the longest stop string that ends there."""
        for stop in stops:
            state = 0
            for letter in stop:
                follower = self.next[state].get(letter)
                if follower is None:
                    follower = self.next[state][letter] = len(self.next)
                    self.next.append({})
                    self.depth.append(self.depth[state] + 1)
                    self.longest.append(None)
                state = follower
            self.longest[state] = stop
        self.fail = [0] * len(self.next)
        todo = deque(self.next[0].values())
        while todo:
            state = todo.popleft()
            link = self.fail[state]
            self.longest[state] = self.longest[state] or self.longest[link]
            for letter, follower in self.next[state].items():
                self.fail[follower] = self.step(link, letter)
                todo.append(follower)

    def step(self, state: int, letter: str) -> int:
        following = self.next
        while state and letter not in following[state]:
            state = self.fail[state]
        return following[state].get(letter, 0)


class _StopFinder:
    """Where in a growing text the first stop string starts, and how far the text is free of any."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._automaton = _StopAutomaton(stops)
        self._state = 0
        self._seen = 0
        self.start = -1
        """Where the stop string that was found starts."""
        self.found: str | None = None
        """The stop string that starts first; if two start there, the one that ends first."""

    @property
    def free(self) -> int:
        """Characters before this position are in no stop string, and cannot come to be."""
        held = self._seen - self._automaton.depth[self._state]
        return held if self.found is None else min(held, self.start)

    @property
    def settled(self) -> bool:
        """A stop string was found, and none that starts earlier can still be completed."""
        return self.found is not None and self.start <= self._seen - self._automaton.depth[self._state]

    def feed(self, text: str) -> None:
        """Read on, up to where the answer is settled."""
        automaton = self._automaton
        for letter in text:
            self._state = automaton.step(self._state, letter)
            self._seen += 1
            stop = automaton.longest[self._state]
            if stop is not None and (self.found is None or self._seen - len(stop) < self.start):
                self.found, self.start = stop, self._seen - len(stop)
            if self.found is not None and self.settled:
                return


class AnswerText:
    """Turns the tokens of one answer into the pieces of text that may be shown.

    Tokens and their text are held back together while a character is incomplete or the text could still become a
    stop string. The stop string that starts first ends the answer. Tokens without text (special ones, parts of a
    character) go out with the next token that has some, or at the end. The pieces' texts join to the answer.
    """

    def __init__(self, tokenizer: DetokenizerSource, stop: tuple[str, ...] = ()) -> None:
        self._detokenizer = Detokenizer.of(tokenizer)
        self._finder = _StopFinder(stop) if stop else None
        self._waiting: deque[str] = deque()
        """Texts of tokens that may still change what is shown."""
        self._silent: list[str] = []
        """Of tokens without text, free to go with the next one that has some."""
        self._position = 0
        """Where in the text the first waiting token starts."""
        self.stop: str | None = None
        """The stop string that ended the answer; the text ends right before it."""

    def push(self, token_id: int) -> Sequence[str]:
        """Add a token; returns what it sets free: the texts of tokens, each once and in the order pushed. After a stop
        string has been found nothing more comes out."""
        if self.stop is not None:
            return ()
        text = self._detokenizer.push(token_id)
        self._waiting.append(text)
        free = math.inf
        if self._finder is not None:
            self._finder.feed(text)
            if self._finder.settled:
                return self._cut(self._finder)
            free = self._finder.free
        out: list[str] = []
        while len(self._waiting) > self._detokenizer.pending and self._position + len(self._waiting[0]) <= free:
            text = self._waiting.popleft()
            self._position += len(text)
            self._silent.append(text)
            if text:
                out += self._silent
                self._silent.clear()
        return out

    def finish(self) -> Sequence[str]:
        """The answer ends here: everything held comes out, up to a stop string."""
        if self.stop is not None:
            return ()
        rest = ""
        if self._detokenizer.pending:  # the last token waits: its character is incomplete
            rest = self._detokenizer.flush()
            self._waiting[-1] += rest
        if self._finder is not None:
            self._finder.feed(rest)
            if self._finder.found is not None:
                return self._cut(self._finder)
        return self._take_all()

    def _cut(self, finder: _StopFinder) -> list[str]:
        """End right before the stop string; tokens without kept text behind it are dropped."""
        self.stop = finder.found
        kept: list[str] = []
        position = self._position
        for text in self._take_all():
            if position >= finder.start:
                break
            kept.append(text[: finder.start - position])
            position += len(text)
        return kept

    def _take_all(self) -> tuple[str, ...]:
        held = (*self._silent, *self._waiting)
        self._silent.clear()
        self._waiting.clear()
        return held
