"""Saved chats: search them, open one, rename, delete."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from specdec_tui.core.safe import one_line
from specdec_tui.core.store import Session, Store
from specdec_tui.screens.dialog import Dialog
from specdec_tui.widgets.options import Options

_HINT = "Enter opens · F2 renames · F8 deletes · Esc closes"


class SessionsScreen(Dialog[str | None]):
    """Returns the id of the session to open."""

    HELP = """\
# Sessions

Type words to search all chats; arrow keys choose, `Enter` opens.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "Close"),
        ("f2", "rename", "Rename"),
        ("f8", "delete", "Delete"),
        ("down", "move(1)", "Down"),
        ("up", "move(-1)", "Up"),
    ]
    DEFAULT_CSS = """
    SessionsScreen { align: center middle; }
    SessionsScreen > Vertical {
        width: 84; max-width: 96%; height: 80%; padding: 0 1; background: $surface; border: round $primary;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    SessionsScreen Input { margin: 1 1; background: $panel; }
    SessionsScreen OptionList {
        height: 1fr; border: none; background: $surface; scrollbar-size-vertical: 1;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    SessionsScreen #none { padding: 1 2; color: $text-muted; display: none; }
    """

    def __init__(self, store: Store, current: str, words: str = "") -> None:
        super().__init__()
        self._store, self._current, self._words = store, current, words
        self._sessions: list[Session] = []
        self._renaming: str | None = None
        self._doomed: str | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Sessions", _HINT
            yield Input(self._words, placeholder="search", compact=True)
            yield Options()
            yield Static("No chat has these words.", id="none")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._list()

    @property
    def _chosen(self) -> Session | None:
        at = self.query_one(OptionList).highlighted
        return None if at is None else self._sessions[at]

    @on(Input.Changed)
    def _search(self) -> None:
        if self._renaming is None:
            self._list()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if self._renaming is None:
            self._open()
            return
        if event.value.strip():
            self._store.rename(self._renaming, event.value.strip())
        self._renaming = None
        event.input.value, event.input.placeholder = self._words, "search"
        self._list()

    @on(OptionList.OptionSelected)
    def _open(self) -> None:
        if chosen := self._chosen:
            self.dismiss(chosen.id)

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        (options.action_cursor_down if by > 0 else options.action_cursor_up)()
        self._doomed = None

    def action_rename(self) -> None:
        if chosen := self._chosen:
            self._renaming = chosen.id
            box = self.query_one(Input)
            box.value, box.placeholder = chosen.title, "a new name; Enter keeps it"
            box.focus()

    def action_delete(self) -> None:
        """The first time asks, the second does."""
        chosen = self._chosen
        if chosen is None or chosen.id == self._current:
            self._hint("the open chat stays" if chosen else _HINT)
        elif chosen.id == self._doomed and self._store.delete(chosen.id):
            self._list()
        elif chosen.id == self._doomed:
            self._hint("it is open in another window, and stays")
        else:
            self._doomed = chosen.id
            self._hint(f"F8 again deletes “{one_line(chosen.title, 30)}” for ever")

    def _list(self) -> None:
        self._doomed = None
        self._hint(_HINT)
        self._sessions = self._store.search(self.query_one(Input).value)
        options = self.query_one(OptionList)
        options.clear_options()
        for session in self._sessions:
            when = time.strftime("%d %b %H:%M", time.localtime(session.updated))
            parts: list[str | tuple[str, str]] = [
                "● " if session.id == self._current else "  ",
                (f"{when} {session.turns:>4} turns  ", "dim"),
                (one_line(session.title), "bold"),
            ]
            if session.excerpt:
                parts.append((f"\n  {one_line(session.excerpt, 70)}", "dim italic"))
            options.add_option(Option(Content.assemble(*parts)))
        options.highlighted = 0 if self._sessions else None
        self.query_one("#none").display = not self._sessions

    def _hint(self, text: str) -> None:
        self.query_one(Vertical).border_subtitle = Content(text)
