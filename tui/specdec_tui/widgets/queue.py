"""Prompts that wait for an engine, or for the answer before theirs."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from specdec_tui.core.safe import one_line


class Queue(Static):
    """They go out in order; the prompt can take the last one back."""

    DEFAULT_CSS = """
    Queue {
        display: none; height: auto; max-height: 6; padding: 0 2; margin: 0 1; color: $text-muted;
        border-left: outer $secondary;
    }
    Queue.-some { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False, id="queue")
        self.texts: list[str] = []

    def put(self, text: str) -> None:
        self.texts.append(text)
        self._draw()

    def take(self, at: int) -> str:
        """One of them, to send or to change."""
        text = self.texts.pop(at)
        self._draw()
        return text

    def _draw(self) -> None:
        self.set_class(bool(self.texts), "-some")
        head = Content.styled(f"{len(self.texts)} waiting, in order · Up takes the last back", "bold")
        shown = self.texts[-4:]
        more = [Content(f"… {len(self.texts) - len(shown)} before these")] if len(self.texts) > len(shown) else []
        self.update(Content("\n").join([head, *more, *(Content(one_line(text, 200)) for text in shown)]))
