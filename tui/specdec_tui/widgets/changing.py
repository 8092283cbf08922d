"""A text that is shown again and again while an answer comes."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Changing(Static):
    """Drawn when its text changes, and the screen laid out anew only when its size does."""

    def __init__(self, name: str) -> None:
        super().__init__("", id=name, markup=False)
        self._said = Content("")

    def say(self, text: str | Content) -> None:
        said = Content(text) if isinstance(text, str) else text
        if said.plain != self._said.plain:
            before, self._said = self._said, said
            self.update(said, layout=_size(before) != _size(said))


def _size(content: Content) -> list[int]:
    """Cells of each line."""
    return [line.cell_length for line in content.split("\n", allow_blank=True)]
