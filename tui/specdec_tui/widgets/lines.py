"""Text of many lines, of which only those on the screen are drawn."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget

from specdec_tui.widgets.steady import Steady


class Lines(Steady, Widget):
    """Drawn one by one, and each once for as long as it stays: while an answer comes, most of them only move up."""

    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Content] = []

    @property
    def text(self) -> str:
        return "\n".join(line.plain for line in self._lines)

    def put(self, lines: list[Content]) -> None:
        """These from now on. Those up to the first other one stay as they are drawn."""
        pairs = zip(self._lines, lines, strict=False)
        others = (i for i, (old, new) in enumerate(pairs) if not (old is new or old.is_same(new)))
        first = next(others, min(len(self._lines), len(lines)))
        height = max(len(self._lines), len(lines)) - first
        self._lines = lines
        self.refresh(Region(0, first, max(self.size.width, 1), max(height, 1)), layout=True)

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        if size.width == self._size.width:
            self._size = size  # else all of it would be drawn anew
        return super()._size_updated(size, virtual_size, container_size, layout)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002  (Textual's)
        return max(1, len(self._lines))

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        if y >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[y]
        if (selection := self.text_selection) and (span := selection.get_span(y)):
            style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            line = line.stylize(style, span[0], None if span[1] == -1 else span[1])
        # draws it as a Static would: a line's own rendering knows none of the theme's colours
        strip = Visual.to_strips(self, line, width, 1, self.visual_style, apply_selection=False)[0]
        return strip.apply_offsets(0, y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.text), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002  (Textual's)
        self.refresh()
