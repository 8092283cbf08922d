"""Where the prompt is written: several lines, a history, and large pastes kept out of the way."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea

_LARGE = 4000
"""Characters of a paste that is shown as one word and put in when the prompt is sent."""


class Prompt(TextArea):
    """Enter sends; Shift+Enter, Alt+Enter or Ctrl+J begins a line."""

    HELP = """\
# Prompt

`Enter` sends, `Esc` stops an answer. `Up` in the first line and `Down` in the last bring back earlier prompts. A line
that begins with `/` is a command; `Tab` completes it. A large paste is shown as one word, and goes out whole.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("ctrl+j,shift+enter,alt+enter", "line", "New line"),
    ]
    DEFAULT_CSS = """
    Prompt {
        height: auto; min-height: 3; max-height: 10; padding: 0 1;
        border: round $border; background: $background;
        border-title-color: $text-muted; border-subtitle-color: $text-muted;
        &:focus { border: round $primary; background: $background; border-title-color: $primary; }
        & .text-area--cursor-line { background: transparent; }
    }
    """

    class Sent(Message):
        """The prompt was sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Wanted(Message):
        """Tab: complete what was typed; `step` chooses among what is offered."""

        def __init__(self, *, accept: bool = False, step: int = 0) -> None:
            super().__init__()
            self.accept, self.step = accept, step

    def __init__(self) -> None:
        super().__init__(id="prompt", placeholder="Ask something, or / for commands")
        self.earlier: list[str] = []
        self.offering = False
        """Completions are on the screen."""
        self._at = 0
        self._draft = ""
        self._pasted: dict[str, str] = {}

    def put(self, text: str) -> None:
        """Text to go on with."""
        self.text = text
        self.move_cursor(self.document.end)

    def remember(self, text: str) -> None:
        if text and text != (self.earlier[-1] if self.earlier else None):
            self.earlier.append(text)
        self._at = len(self.earlier)

    def action_line(self) -> None:
        self.insert("\n")

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            self._send()
        elif self.offering and event.key in ("tab", "up", "down"):
            steps = {"up": -1, "down": 1}
            self.post_message(self.Wanted(accept=event.key == "tab", step=steps.get(event.key, 0)))
        elif not self._recalled(event.key):
            return
        event.stop()
        event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        if len(event.text) < _LARGE:
            return
        event.prevent_default()
        event.stop()
        word = f"[pasted text {len(self._pasted) + 1}: {len(event.text):,} characters]"
        self._pasted[word] = event.text
        self.insert(word)

    def _send(self) -> None:
        text = self.text
        for word, pasted in self._pasted.items():
            text = text.replace(word, pasted)
        if text.strip():
            self.post_message(self.Sent(text))

    def clear_all(self) -> None:
        """Empty, with no paste waiting."""
        self._pasted.clear()
        self.text = ""

    def _recalled(self, key: str) -> bool:
        """Up in the first line and down in the last bring another prompt."""
        if key == "up" and self.cursor_location[0] == 0:
            return self._recall(-1)
        return key == "down" and self.cursor_at_last_line and self._recall(1)

    def _recall(self, step: int) -> bool:
        to = self._at + step
        if not 0 <= to <= len(self.earlier):
            return False
        if self._at == len(self.earlier):
            self._draft = self.text
        self._at = to
        self.put(self.earlier[to] if to < len(self.earlier) else self._draft)
        return True
