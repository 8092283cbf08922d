"""A table's cells laid out in lines of a width, so that every one of them can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from textual.content import Content

Align = Literal["left", "center", "right"]
Row = Sequence[Content]

_BETWEEN = Content.styled(" │ ", "dim")
_LEAST = 8
"""Columns that a cell is worth wrapping in; with less for each, a row becomes a record."""


@dataclass(frozen=True, slots=True)
class Table:
    """Head, rows, and how each column is aligned."""

    head: Row
    rows: Sequence[Row]
    aligns: Sequence[Align]

    def lines(self, width: int) -> list[Content]:
        """As columns where they fit, their cells wrapped where they must be; else a record for each row."""
        widths = self._widths(width)
        return self._records(max(width, 1)) if widths is None else self._columns(widths)

    def _widths(self, width: int) -> list[int] | None:
        """The widest columns give way first."""
        count = len(self.head)
        columns = [[row[i].cell_length for row in (self.head, *self.rows) if i < len(row)] for i in range(count)]
        widths = [max(column, default=1) or 1 for column in columns]
        room = width - _BETWEEN.cell_length * (count - 1)
        if sum(min(w, _LEAST) for w in widths) > room:
            return None
        while sum(widths) > room:
            widths[widths.index(max(widths))] -= 1
        return widths

    def _columns(self, widths: Sequence[int]) -> list[Content]:
        rule = Content.styled("─┼─".join("─" * w for w in widths), "dim")
        wraps = any(len(_wrapped(c, w)) > 1 for row in self.rows for c, w in zip(row, widths, strict=False))
        found = [*self._row([cell.stylize("bold") for cell in self.head], widths), rule]
        for number, row in enumerate(self.rows):
            found += [rule] if wraps and number else []
            found += self._row(row, widths)
        return found

    def _row(self, row: Row, widths: Sequence[int]) -> list[Content]:
        cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=False)]
        cells += [[Content("")]] * (len(widths) - len(cells))
        lines = []
        for y in range(max(map(len, cells))):
            parts = (
                _ALIGNED[align](cell[y] if y < len(cell) else Content(""), width)
                for cell, width, align in zip(cells, widths, self.aligns, strict=True)
            )
            lines.append(_BETWEEN.join(parts))
        return lines

    def _records(self, width: int) -> list[Content]:
        found: list[Content] = []
        for row in self.rows:
            found += [Content.styled("─" * width, "dim")] if found else []
            for name, cell in zip(self.head, row, strict=False):
                found += _wrapped(Content.assemble(name.stylize("bold"), ": ", cell), width)
        return found or [line for name in self.head for line in _wrapped(name.stylize("bold"), width)]


def _wrapped(cell: Content, width: int) -> list[Content]:
    return list(cell.wrap(width)) if cell.cell_length > width else [cell]


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
