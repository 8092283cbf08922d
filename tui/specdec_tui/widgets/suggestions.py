"""What a slash command could become, over the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from specdec_tui.core.commands import Suggestion

_LABEL = 24


class Suggestions(Static):
    """A list with one line marked; the prompt moves the mark and takes it."""

    DEFAULT_CSS = """
    Suggestions {
        display: none; height: auto; max-height: 10; padding: 0 2; margin: 0 1;
        background: $surface; border-left: outer $primary; text-wrap: nowrap; text-overflow: ellipsis;
    }
    Suggestions.-open { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False, id="suggestions")
        self._found: Sequence[Suggestion] = ()
        self._at = 0

    @property
    def chosen(self) -> Suggestion | None:
        return self._found[self._at] if self._found else None

    def offer(self, found: Sequence[Suggestion]) -> None:
        """Show these, or nothing."""
        if not found and not self._found:  # most keys
            return
        self._found, self._at = found, 0
        self.set_class(bool(found), "-open")
        self._draw()

    def step(self, by: int) -> None:
        self._at = (self._at + by) % len(self._found) if self._found else 0
        self._draw()

    def _draw(self) -> None:
        most = max(self.size.height, 8)
        start = max(0, self._at - most + 1)
        lines = []
        for i, suggestion in enumerate(self._found[start : start + most], start):
            style = "bold reverse" if i == self._at else "bold"
            label = f"{suggestion.label:<{_LABEL}}"
            lines.append(Content.assemble((label, style), " ", (suggestion.help, "dim")))
        self.update(Content("\n").join(lines))
