"""A text that is shown again and again, mostly the same or of the same size."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from specdec_tui.widgets.steady import Steady


class Changing(Steady, Static):
    """Drawn when its text changes, and the screen laid out anew only when its size does."""

    DEFAULT_CSS = "Changing { width: 100%; }"

    def __init__(self, name: str) -> None:
        super().__init__("", id=name, markup=False)
        self._text = Content("")

    @property
    def cells(self) -> int:
        """Columns of its one line."""
        return self._text.cell_length

    def show(self, text: str | Content) -> None:
        new = Content(text) if isinstance(text, str) else text
        if not new.is_same(self._text):
            before, self._text = self._text, new
            self.update(new, layout=self._extent(before) != self._extent(new))

    def _extent(self, content: Content) -> tuple[int, int]:
        """Columns and lines, as far as the text decides them."""
        if self.styles.is_auto_width:
            return content.cell_length, 1
        width = self.content_size.width
        return 0, content.get_height({}, width) if width else 0
