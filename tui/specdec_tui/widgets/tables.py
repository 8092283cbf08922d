"""A table's cells laid out in lines of a width, so that every one of them can be read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from textual.content import Content

Align = Literal["left", "center", "right"]
Row = Sequence[Content]
Laid = Sequence[Content]
"""The lines that a row takes."""

_BETWEEN = Content.styled(" │ ", "dim")
_LEAST = 8
"""Columns that a cell is worth wrapping in; with less for each, a row becomes a record."""


@dataclass(frozen=True, slots=True)
class Table:
    """Head, rows, and how each column is aligned. Each row has as many cells as the head."""

    head: Row
    rows: Sequence[Row]
    aligns: Sequence[Align]

    def widths(self, width: int) -> Sequence[int] | None:
        """Of the columns, in a table of `width`: the widest give way first. None: each row is better read as a
        record."""
        wanted = [max(row[i].cell_length for row in (self.head, *self.rows)) or 1 for i in range(len(self.head))]
        room = width - _BETWEEN.cell_length * (len(wanted) - 1)
        if sum(min(w, _LEAST) for w in wanted) > room:
            return None
        most = bisect_right(range(max(wanted) + 1), room, key=lambda m: sum(min(w, m) for w in wanted)) - 1
        widths = [min(w, most) for w in wanted]
        wider = [i for i, w in enumerate(wanted) if w > most]
        for i in wider[len(wider) - (room - sum(widths)) :] if wider else ():  # what does not go round
            widths[i] += 1
        return widths

    def lay(self, row: Row, width: int, widths: Sequence[int] | None) -> Laid:
        """A row as columns, their cells wrapped where they must be, or as a record."""
        if widths is None:
            named = zip(self.head, row, strict=True)
            pairs = (Content.assemble(name.stylize("bold"), ": ", cell) for name, cell in named)
            return [line for pair in pairs for line in _wrapped(pair, max(width, 1))]
        cells = [_wrapped(cell, w) for cell, w in zip(row, widths, strict=True)]
        return [self._line(y, cells, widths) for y in range(max(map(len, cells)))]

    def lines(self, rows: Sequence[Laid], width: int, widths: Sequence[int] | None) -> list[Content]:
        """The whole table, of rows that are laid out. A rule stands between rows that take several lines."""
        heads = [name.stylize("bold") for name in self.head]
        if widths is None:
            found = [] if rows else [line for name in heads for line in _wrapped(name, max(width, 1))]
            rule = Content.styled("─" * width, "dim")
        else:
            rule = Content.styled("─┼─".join("─" * w for w in widths), "dim")
            found = [*self.lay(heads, width, widths), rule]
        between = [rule] if widths is None or any(len(row) > 1 for row in rows) else []
        for number, row in enumerate(rows):
            found += between if number else []
            found += row
        return found

    def _line(self, y: int, cells: Sequence[Sequence[Content]], widths: Sequence[int]) -> Content:
        found: list[Content] = []
        for cell, width, align in zip(cells, widths, self.aligns, strict=True):
            found += [_BETWEEN, _ALIGNED[align](cell[y] if y < len(cell) else Content(""), width)]
        return Content("").join(found[1:])  # joining by what stands between counts its columns twice


def _wrapped(cell: Content, width: int) -> list[Content]:
    return cell.wrap(width) if cell.cell_length > width else [cell]


def _spaced(before: Callable[[int], int]) -> Callable[[Content, int], Content]:
    """Filled up to a width; `before` of the spaces go to the left."""

    def filled(cell: Content, width: int) -> Content:
        spaces = max(0, width - cell.cell_length)
        return cell.pad(before(spaces), spaces - before(spaces))

    return filled


_ALIGNED: dict[Align, Callable[[Content, int], Content]] = {
    "left": _spaced(lambda spaces: 0),
    "center": _spaced(lambda spaces: spaces // 2),
    "right": _spaced(lambda spaces: spaces),
}
