"""An answer as tokens: where each came from, what was rejected beside it, and how they lie in lines of a width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len, chop_cells

from specdec.types import GenerationEvent, Origin, Round, Token
from specdec_tui.core.safe import safe

Kind = Origin | Literal["rejected", "separator"]

SEPARATOR = "│"
_NEWLINE = "⏎"
_TAB = "→   "


@dataclass(frozen=True, slots=True)
class Entry:
    """A token of the answer, or a drafted one that was rejected, and the round that it came out of."""

    text: str
    kind: Kind
    id: int
    round: int
    """Which round of the answer, 1 the first; 0 the prefill."""
    timing: Round | None = None
    logprob: float | None = None


@dataclass(slots=True)
class TokenLog:
    """The entries of one answer, in order."""

    entries: list[Entry] = field(default_factory=list)
    _rounds: int = 0

    def see(self, event: GenerationEvent) -> None:
        """Take over an event: its tokens, and after the accepted ones the drafts that were rejected."""
        self._rounds += event.round is not None
        accepted = [t for t in event.tokens if t.origin == "accepted"]
        own = event.tokens[len(accepted) :]
        for token in accepted:
            self._add(token, event.round)
        if event.round:
            self.entries.extend(self._rejected(event.round))
        for token in own:
            self._add(token, event.round)

    def _add(self, token: Token, round: Round | None) -> None:
        self.entries.append(Entry(token.text, token.origin, token.id, self._rounds, round, token.logprob))

    def _rejected(self, round: Round) -> Iterator[Entry]:
        """An engine that does not tell their texts still tells their ids."""
        ids = round.drafted[round.accepted :]
        texts = round.rejected or tuple(f"⟨{token}⟩" for token in ids)
        for token, text in zip(ids, texts, strict=True):
            yield Entry(text, "rejected", token, self._rounds, round)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a line: text of one entry, by its index."""

    text: str
    kind: Kind
    entry: int


class Lines:
    """Lays a log's entries out in lines of `width` cells; can go on where it stopped."""

    def __init__(self, log: TokenLog, width: int, *, rejected: bool, separators: bool) -> None:
        self.log, self.width = log, max(width, 1)
        self.rejected, self.separators = rejected, separators
        self.lines: list[list[Piece]] = [[]]
        self._used = 0
        self.laid = 0
        """How many of the log's entries are in the lines."""
        self._round = 0

    def extend(self) -> None:
        """Lay out what came since the last time."""
        entries = self.log.entries
        for index in range(self.laid, len(entries)):
            self._lay(index, entries[index])
        self.laid = len(entries)

    def line_of(self, entry: int) -> int:
        """The first line with a piece of this entry."""
        lines = range(len(self.lines))
        return next((y for y in lines if any(p.entry == entry for p in self.lines[y])), 0)

    def entry_at(self, x: int, y: int) -> int | None:
        """The entry at a cell."""
        for piece in self.lines[y] if 0 <= y < len(self.lines) else ():
            x -= cell_len(piece.text)
            if x < 0:
                return None if piece.kind == "separator" else piece.entry
        return None

    def _lay(self, index: int, entry: Entry) -> None:
        if entry.kind == "rejected" and not self.rejected:
            return
        if entry.round != self._round:
            self._round = entry.round
            if self.separators and self._used:
                self._put(Piece(SEPARATOR, "separator", index))
        if entry.kind == "rejected":
            self._put(Piece(_visible(entry.text.replace("\n", _NEWLINE)), entry.kind, index))
            return
        head, *rest = entry.text.split("\n")
        self._put(Piece(_visible(head + _NEWLINE * bool(rest)), entry.kind, index))
        for number, line in enumerate(rest, 1):
            self._break()
            self._put(Piece(_visible(line + _NEWLINE * (number < len(rest))), entry.kind, index))

    def _put(self, piece: Piece) -> None:
        width = cell_len(piece.text)
        if not width:
            return
        if self._used + width > self.width and self._used:
            self._break()
        if width > self.width:
            *full, last = chop_cells(piece.text, self.width)
            for part in full:
                self.lines[-1].append(Piece(part, piece.kind, piece.entry))
                self._break()
            piece = Piece(last, piece.kind, piece.entry)
            width = cell_len(last)
        self.lines[-1].append(piece)
        self._used += width

    def _break(self) -> None:
        self.lines.append([])
        self._used = 0


def _visible(text: str) -> str:
    return safe(text).replace("\t", _TAB)
