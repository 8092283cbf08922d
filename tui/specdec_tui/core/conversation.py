"""A chat as a tree of turns: regenerating and editing make siblings, nothing is ever overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from specdec.types import Message

State = Literal["done", "running", "cancelled", "interrupted", "failed"]
"""`interrupted`: the chat itself ended while the answer was coming."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and what became of it. `figures` are plain numbers and texts about how an answer came."""

    id: int
    parent: int | None
    message: Message
    state: State = "done"
    figures: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.message.content or ""

    @property
    def is_answer(self) -> bool:
        return self.message.role == "assistant"


class Conversation:
    """The turns, and which path through them is shown: the one that ends in `head`."""

    def __init__(self, turns: Iterable[Turn] = (), head: int | None = None) -> None:
        self._turns: dict[int, Turn] = {}
        self._children: dict[int | None, list[int]] = {}
        for turn in turns:
            self._place(turn)
        self.head = head if head in self._turns else None

    def __len__(self) -> int:
        return len(self._turns)

    def __getitem__(self, number: int) -> Turn:
        return self._turns[number]

    @property
    def turns(self) -> Iterable[Turn]:
        """All of them, each after its parent."""
        return self._turns.values()

    def add(self, message: Message, parent: int | None, state: State = "done", **figures: float | str) -> Turn:
        """A new last turn after `parent`."""
        turn = Turn(max(self._turns, default=0) + 1, parent, message, state, figures)
        self._place(turn)
        self.head = turn.id
        return turn

    def put(self, turn: Turn) -> None:
        """A turn's new state."""
        self._turns[turn.id] = turn

    def drop(self, number: int) -> None:
        """Remove a turn that nothing follows; the one before it is shown."""
        turn = self._turns.pop(number)
        self._children[turn.parent].remove(number)
        self.head = turn.parent

    def path(self, head: int | None = None) -> list[Turn]:
        """From the first turn to `head` (default: the one that is shown)."""
        at, found = self.head if head is None else head, []
        while at is not None:
            found.append(self._turns[at])
            at = self._turns[at].parent
        return found[::-1]

    def siblings(self, number: int) -> list[int]:
        """The turn and its alternatives, in the order in which they were made."""
        return self._children[self._turns[number].parent]

    def followers(self, number: int) -> list[int]:
        return self._children.get(number, [])

    def branch(self, number: int) -> tuple[int, int]:
        """Which of how many alternatives a turn is, from 1."""
        row = self.siblings(number)
        return row.index(number) + 1, len(row)

    def beside(self, number: int, step: int) -> int:
        """The alternative `step` places further, the turn itself at the end of the row."""
        row = self.siblings(number)
        at = row.index(number) + step
        return row[at] if 0 <= at < len(row) else number

    def show(self, number: int) -> None:
        """Show the path through this turn, onwards to its latest end."""
        while children := self.followers(number):
            number = children[-1]
        self.head = number

    def last(self, role: str) -> Turn | None:
        """The last turn of that role on the shown path."""
        return next((t for t in reversed(self.path()) if t.message.role == role), None)

    def _place(self, turn: Turn) -> None:
        self._turns[turn.id] = turn
        self._children.setdefault(turn.parent, []).append(turn.id)


def title_of(text: str, most: int = 60) -> str:
    """A name for a chat, from its first prompt."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
