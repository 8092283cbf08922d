"""What a slash command could become, over the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from specdec_tui.core.commands import Completion

_LABEL = 24


class Suggestions(Static):
    """A list with one line marked; the prompt moves the mark and takes it."""

    DEFAULT_CSS = """
    Suggestions {
        display: none; height: auto; max-height: 10; padding: 0 2; margin: 0 1;
        background: $surface; border-left: outer $primary;
    }
    Suggestions.-open { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False, id="suggestions")
        self._found: Sequence[Completion] = ()
        self._at = 0

    @property
    def chosen(self) -> Completion | None:
        return self._found[self._at] if self._found else None

    def offer(self, found: Sequence[Completion]) -> None:
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
        rows = enumerate(self._found[start : start + most], start)
        lines = (self._line(completion, marked=i == self._at) for i, completion in rows)
        self.update(Content("\n").join(lines))

    @staticmethod
    def _line(completion: Completion, *, marked: bool) -> Content:
        style = "bold reverse" if marked else "bold"
        return Content.assemble((f"{completion.label:<{_LABEL}}", style), " ", (completion.help, "dim"))
