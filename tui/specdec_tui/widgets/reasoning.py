"""What a model thought before it answered, folded away until somebody looks."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.reactive import reactive
from textual.widgets import Static

from specdec_tui.core.safe import safe
from specdec_tui.widgets.keyed import Keyed


class Reasoning(Static, Keyed, can_focus=True):
    """One line that opens."""

    KEYS = "Enter opens or folds · Esc prompt"

    HELP = "# Reasoning\n\nWhat the model thought before its answer. `Enter` or a click opens and folds it.\n"
    BINDINGS: ClassVar[list[BindingType]] = [("enter,space", "fold", "Open or fold")]
    DEFAULT_CSS = """
    Reasoning { display: none; height: auto; margin: 1 2 0 2; color: $text-muted; text-style: italic; }
    Reasoning.-some { display: block; }
    Reasoning:focus { background: $surface; }
    """
    open: reactive[bool] = reactive(False)

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._text = ""
        self._thinking = False

    def show(self, text: str, *, thinking: bool) -> bool:
        """Whether that changed anything that can be seen."""
        if (text, thinking and bool(text)) == (self._text, self._thinking):
            return False
        self._text, self._thinking = text, thinking and bool(text)
        self.set_class(bool(text), "-some")
        self._draw()
        return True

    def action_fold(self) -> None:
        self.open = not self.open

    def on_click(self) -> None:
        self.action_fold()

    def watch_open(self) -> None:
        self._draw()
        self.refresh(layout=True)

    def _draw(self) -> None:
        verb = "Thinking" if self._thinking else "Thought"
        head = f"{'▾' if self.open else '▸'} {verb}: {len(self._text.split())} words"
        text = f"{head}\n{safe(self._text.strip())}" if self.open else head
        self.update(text, layout=self.open)  # as it grows folded, it stays as tall
