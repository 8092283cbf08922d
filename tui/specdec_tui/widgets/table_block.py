"""A table of Markdown as one widget: a widget for each cell, as Textual's own has, took seconds to lay out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets._markdown import MarkdownBlock, MarkdownTable, MarkdownTD, MarkdownTH, MarkdownTR

from specdec_tui.widgets.steady import Steady
from specdec_tui.widgets.tables import Align, Table


class TableLines(Steady, Widget):
    """The table, as its width allows."""

    DEFAULT_CSS = "TableLines { width: 1fr; height: auto; text-wrap: nowrap; }"

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._laid: tuple[int, Content] | None = None

    def show(self, table: Table) -> None:
        self._table, self._laid = table, None
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002  (Textual's)
        return self._at(width).plain.count("\n") + 1

    def render(self) -> Content:
        return self._at(self.content_size.width)

    def _at(self, width: int) -> Content:
        if self._laid is None or self._laid[0] != width:
            self._laid = (width, Content("\n").join(self._table.lines(width)))
        return self._laid[1]


class TableBlock(MarkdownTable):
    """Every cell can be read, at any width."""

    def compose(self) -> ComposeResult:
        self._shown = TableLines(self.table)
        yield self._shown

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not isinstance(block, TableBlock):
            await super(MarkdownTable, self)._update_from_block(block)
            return
        self._copy_context(block)
        self._shown.show(block.table)

    @property
    def table(self) -> Table:
        """What it says."""
        head: list[Content] = []
        aligns: list[Align] = []
        rows: list[list[Content]] = []
        for block in _within(self):
            if isinstance(block, MarkdownTH):
                head.append(block._content)  # noqa: SLF001  (no public way)
                style = str(block._token.attrs.get("style", ""))  # noqa: SLF001  (as the line under the head says)
                aligns.append(cast("Align", style.removeprefix("text-align:") or "left"))
            elif isinstance(block, MarkdownTD):
                rows[-1].append(block._content)  # noqa: SLF001  (no public way)
            elif isinstance(block, MarkdownTR):
                rows.append([])
        return Table(head, [row for row in rows if row], aligns)


def _within(block: MarkdownBlock) -> Iterator[MarkdownBlock]:
    for inner in block._blocks:  # noqa: SLF001  (no public way)
        yield inner
        yield from _within(inner)
