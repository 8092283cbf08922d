"""What was asked before, in any chat: search it, and take one into the prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList

from specdec_tui.core.files import asked
from specdec_tui.core.safe import one_line
from specdec_tui.screens.dialog import Dialog
from specdec_tui.widgets.options import Options


class HistoryScreen(Dialog[str | None]):
    """Returns a prompt. `find` gives those that have all of some words, the latest first."""

    HELP = """\
# Earlier prompts

Type words to search; arrow keys choose, `Enter` takes one into the prompt.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "Close"),
        ("down,ctrl+r", "move(1)", "Down"),
        ("up", "move(-1)", "Up"),
    ]
    DEFAULT_CSS = """
    HistoryScreen { align: center middle; }
    HistoryScreen > Vertical {
        width: 96; max-width: 96%; height: 80%; padding: 0 1; background: $surface; border: round $primary;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    HistoryScreen Input { margin: 1 1; background: $panel; }
    HistoryScreen OptionList { height: 1fr; border: none; background: $surface; scrollbar-size-vertical: 1; }
    """

    def __init__(self, find: Callable[[str], list[str]], words: str) -> None:
        super().__init__()
        self._find, self._words = find, one_line(words)  # a field's line ends break what is drawn
        self._found: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Earlier prompts", "Enter takes it · Esc closes"
            yield Input(self._words, placeholder="search", compact=True)
            yield Options()

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._search()

    @on(Input.Changed)
    def _search(self) -> None:
        found = self._find(self.query_one(Input).value)
        self._found = list(dict.fromkeys(asked(text)[0] for text in found))  # without their files
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Content(one_line(text, 200)) for text in self._found])
        options.highlighted = 0 if self._found else None

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _take(self) -> None:
        at = self.query_one(OptionList).highlighted
        self.dismiss(None if at is None else self._found[at])

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        (options.action_cursor_down if by > 0 else options.action_cursor_up)()
