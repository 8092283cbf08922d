"""A table of Markdown as one widget: a widget for each cell, as Textual's own has, took seconds to lay out.

While it comes, each frame reads, lays out and draws what is new in it, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_not

from markdown_it.token import Token
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownTable

from specdec_tui.core.markdown import parser
from specdec_tui.widgets.lines import Lines
from specdec_tui.widgets.tables import Laid, Row, Table


class TableLines(Lines):
    """The table, as its width allows."""

    DEFAULT_CSS = "TableLines { width: 1fr; }"

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._rows: Sequence[Row] = ()
        """Those that are laid out."""
        self._laid: list[Laid] = []
        self._form: tuple[int, Sequence[int] | None] = (0, None)
        """The width they were laid out for, and that of each column."""

    def show(self, table: Table) -> None:
        self._table = table
        if width := self._form[0]:
            self.put(self._at(width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._form[0]:
            self._lines = self._at(width)
        return super().get_content_height(container, viewport, width)

    def _at(self, width: int) -> list[Content]:
        """Its lines. Rows stay as they were laid out while the columns keep their widths."""
        table, form = self._table, (width, self._table.widths(width))
        same = 0
        if form == self._form:
            pairs = zip(self._rows, table.rows, strict=False)
            changed = (i for i, (old, new) in enumerate(pairs) if any(map(is_not, old, new)))
            same = next(changed, min(len(self._rows), len(table.rows)))
        self._laid[same:] = [table.lay(row, *form) for row in table.rows[same:]]
        self._rows, self._form = table.rows, form
        return table.lines(self._laid, *form)


class TableBlock(MarkdownTable):
    """Every cell can be read, at any width."""

    def __init__(self, markdown: Markdown, token: Token) -> None:
        super().__init__(markdown, token)
        self._cells: dict[str, Content] = {}
        """What each text reads as."""

    def compose(self) -> ComposeResult:
        self._shown = TableLines(self._table())
        yield self._shown

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not isinstance(block, TableBlock):
            await super(MarkdownTable, self)._update_from_block(block)
            return
        self._copy_context(block)
        self._shown.show(self._table())

    def _table(self) -> Table:
        meta = self._token.meta
        head, *rows = [[self._cell(text) for text in row] for row in meta["rows"]]
        return Table(head, rows, meta["aligns"])

    def _cell(self, text: str) -> Content:
        if text not in self._cells:
            inline = parser().parseInline(text, self._token.meta["references"])[0]
            self._cells[text] = self._token_to_content(inline)
        return self._cells[text]
