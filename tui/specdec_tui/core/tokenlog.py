"""An answer as tokens: where each came from, what was rejected beside it, and how they lie in lines of a width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len, chop_cells

from specdec.types import GenerationEvent, Origin, Round
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

    def add(self, event: GenerationEvent) -> None:
        """Take over an event: its tokens, and after the accepted ones the drafts that were rejected."""
        round = event.round
        self._rounds += round is not None
        new = [Entry(t.text, t.origin, t.id, self._rounds, round, t.logprob) for t in event.tokens]
        if round:  # an engine that does not give the rejected texts still gives their ids
            ids = round.drafted[round.accepted :]
            texts = round.rejected or tuple(f"⟨{token}⟩" for token in ids)
            at = sum(t.origin == "accepted" for t in event.tokens)
            new[at:at] = [Entry(s, "rejected", t, self._rounds, round) for t, s in zip(ids, texts, strict=True)]
        self.entries += new


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
            entry = entries[index]
            if entry.kind == "rejected" and not self.rejected:
                continue
            if entry.round != self._round:
                self._round = entry.round
                if self.separators and self._used:
                    self._put(SEPARATOR, "separator", index)
            text = safe(entry.text).replace("\t", _TAB)
            lines = [text.replace("\n", _NEWLINE)] if entry.kind == "rejected" else text.split("\n")
            for number, line in enumerate(lines, 1):
                if number > 1:
                    self._break()
                self._put(line + _NEWLINE * (number < len(lines)), entry.kind, index)
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

    def _put(self, text: str, kind: Kind, entry: int) -> None:
        width = cell_len(text)
        if not width:
            return
        if self._used + width > self.width and self._used:
            self._break()
        if width > self.width:
            *full, text = chop_cells(text, self.width)
            for part in full:
                self.lines[-1].append(Piece(part, kind, entry))
                self._break()
            width = cell_len(text)
        self.lines[-1].append(Piece(text, kind, entry))
        self._used += width

    def _break(self) -> None:
        self.lines.append([])
        self._used = 0
