"""Where the prompt is written: several lines, a history, and large pastes kept out of the way."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.geometry import Offset
from textual.message import Message
from textual.widgets import TextArea

from specdec_tui.core.commands import is_command
from specdec_tui.widgets.keyed import Keyed
from specdec_tui.widgets.queue import Queue
from specdec_tui.widgets.suggestions import Suggestions

_LARGE = 4000
"""Characters of a paste that is shown as one word and put in when the prompt is sent."""


class Prompt(TextArea, Keyed):
    """Enter sends; Shift+Enter, Alt+Enter or Ctrl+J begins a line."""

    KEYS = "Enter sends · / commands"

    HELP = """\
# Prompt

`Enter` sends, `Esc` stops an answer. `Up` in the first line and `Down` in the last bring back earlier prompts. A line
that begins with `/` is a command; `@` names a file or a folder whose text goes along; `Tab` completes both. A large
paste is shown as one word, and goes out whole. What is sent while an answer comes, or before there is an engine, waits
above the prompt; `Up` takes the last one back.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("ctrl+j,shift+enter,alt+enter", "line", "New line"),
        ("ctrl+d", "end", "Leave, if the line is empty"),
        ("pageup", "screen.page(-1)", "Scroll up"),
        ("pagedown", "screen.page(1)", "Scroll down"),
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

    class Submitted(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, suggestions: Suggestions, queue: Queue) -> None:
        super().__init__(id="prompt", placeholder="Ask something, or / for commands")
        self.earlier: list[str] = []
        self._suggestions, self._queue = suggestions, queue
        self._at = 0
        self._draft = ""
        self._pasted: dict[str, str] = {}

    @property
    def whole(self) -> str:
        """With what was pasted in its place."""
        text = self.text
        for word, pasted in self._pasted.items():
            text = text.replace(word, pasted)
        return text

    def put(self, text: str) -> None:
        """Text to go on with."""
        self.text = text
        self.move_cursor(self.document.end)

    def remember(self, text: str) -> None:
        if text and text != (self.earlier[-1] if self.earlier else None):
            self.earlier.append(text)
        self._at = len(self.earlier)

    def send(self) -> None:
        """What is written, or what waits; a command typed in part as the one that is marked. Empty at once: the next
        keys may be here already."""
        text, marked = self.whole, self._suggestions.chosen
        if marked and " " not in text and not is_command(text) and marked.line.startswith(text):
            text = marked.line
            if text.endswith(" "):
                self.put(text)
                return
        if text.strip() or self._queue.texts:
            self.remember(text)
            self.clear_all()
            self.post_message(self.Submitted(text))

    def action_end(self) -> None:
        """As a shell has it."""
        if self.text:
            self.action_delete_right()
        else:
            self.app.exit()

    def action_line(self) -> None:
        self.insert("\n")

    async def _on_key(self, event: events.Key) -> None:
        key, suggested = event.key, self._suggestions.chosen
        if key == "enter":
            self.send()
        elif suggested and key == "tab":
            self.put(suggested.line)
        elif key == "up" and not self.text and self._queue.texts:
            self.put(self._queue.take(-1))
        elif suggested and key in ("up", "down"):
            self._suggestions.step(-1 if key == "up" else 1)
        else:  # up in the first line and down in the last bring another prompt
            step = (key == "down" and self.cursor_at_last_line) - (key == "up" and self.cursor_at_first_line)
            if not step or not self._recall(step):
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

    def scroll_cursor_visible(self, center: bool = False, animate: bool = False) -> Offset:
        """While a change is taken back, the cursor may stand for a moment where there is no line any more."""
        try:
            return super().scroll_cursor_visible(center, animate)
        except ValueError:
            return Offset()

    def clear_all(self) -> None:
        """Empty, with no paste waiting."""
        self._pasted.clear()
        self.text = ""

    def _recall(self, step: int) -> bool:
        """Another prompt, if there is one that way."""
        to = self._at + step
        if not 0 <= to <= len(self.earlier):
            return False
        if self._at == len(self.earlier):
            self._draft = self.text
        self._at = to
        self.put(self.earlier[to] if to < len(self.earlier) else self._draft)
        return True
