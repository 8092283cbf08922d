"""An answer as tokens. Draws only the lines that are on the screen, so that any speed and any length cost the same."""

from __future__ import annotations

from typing import ClassVar, get_args

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from specdec.types import Origin
from specdec_tui.core.tokenlog import Entry, Lines, TokenLog
from specdec_tui.widgets.keyed import Keyed

_KINDS = (*get_args(Origin), "rejected", "separator")


class TokenView(ScrollView, Keyed, can_focus=True):
    """Tokens coloured by where each came from; a cursor tells more about one."""

    KEYS = "← → choose · x rejected · Esc text"

    HELP = """\
# Tokens

Each token in the colour of where it came from: an **accepted** draft, the target's own token after a rejected draft
(**recovered**), its own after a whole draft (**bonus**), or of a round without drafts (**plain**); a server may not say
which (**unknown**). **Rejected** drafts are struck through. `│` parts the rounds. Arrow keys or the mouse choose a
token, whose details are below. `Esc` or `Ctrl+T` goes back to the text.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("left", "step(-1)", "Token before"),
        ("right", "step(1)", "Token after"),
        ("up", "line(-1)", "Line up"),
        ("down", "line(1)", "Line down"),
        ("home", "edge(0)", "First token"),
        ("end", "edge(-1)", "Last token"),
        ("x", "rejected", "Show or hide rejected drafts"),
        ("s", "separators", "Show or hide the lines between rounds"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"token--{kind}" for kind in (*_KINDS, "cursor")}
    DEFAULT_CSS = """
    TokenView {
        height: 1fr; max-width: 104; padding: 1 2; background: $background; scrollbar-size-vertical: 1;
        & > .token--accepted { color: $token-accepted; background: $token-accepted 12%; }
        & > .token--recovered { color: $token-recovered; text-style: underline; }
        & > .token--bonus { color: $token-bonus; text-style: italic; }
        & > .token--plain { color: $foreground; }
        & > .token--unknown { color: $foreground; }
        & > .token--rejected { color: $token-rejected; text-style: strike; }
        & > .token--separator { color: $border; }
        & > .token--cursor { text-style: reverse bold; }
        &:nocolor > .token--accepted { text-style: bold; }
    }
    """
    rejected: reactive[bool] = reactive(True, init=False)
    separators: reactive[bool] = reactive(True, init=False)
    cursor: reactive[int | None] = reactive(None, init=False)

    class Looked(Message):
        """The cursor is on this entry, or on none."""

        def __init__(self, entry: Entry | None) -> None:
            super().__init__()
            self.entry = entry

    def __init__(self) -> None:
        super().__init__()
        self._log = TokenLog()
        self._lines = Lines(self._log, 1, rejected=True, separators=True)

    @property
    def entries(self) -> int:
        """How many are laid out."""
        return self._lines.laid

    @property
    def behind(self) -> bool:
        """Whether more have come than are laid out."""
        return len(self._log.entries) > self._lines.laid

    def show(self, log: TokenLog) -> None:
        """Another answer's tokens."""
        self._log, self.cursor = log, None
        self._lay_out()
        self.scroll_end(animate=False)

    def grow(self) -> None:
        """More tokens have come."""
        at_end = self.scroll_offset.y >= self.max_scroll_y - 1
        self._lines.extend()
        self._measure()
        if at_end and self.cursor is None:
            self.scroll_end(animate=False)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        row = y + self.scroll_offset.y
        pieces = self._lines.lines[row] if row < len(self._lines.lines) else []
        segments = []
        for piece in pieces:
            style = self.get_component_rich_style(f"token--{piece.kind}")
            if piece.entry == self.cursor and piece.kind != "separator":
                style += self.get_component_rich_style("token--cursor", partial=True)
            segments.append(Segment(piece.text, style))
        return Strip(segments).adjust_cell_length(width, self.rich_style).crop(0, width)

    def on_resize(self) -> None:
        self._lay_out()

    def watch_rejected(self) -> None:
        self._lay_out()

    def watch_separators(self) -> None:
        self._lay_out()

    def watch_cursor(self, cursor: int | None) -> None:
        self.post_message(self.Looked(None if cursor is None else self._log.entries[cursor]))
        self.refresh()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.cursor = self._entry_at(event)

    def on_click(self, event: events.Click) -> None:
        self.cursor = self._entry_at(event)

    def action_rejected(self) -> None:
        self.rejected = not self.rejected

    def action_separators(self) -> None:
        self.separators = not self.separators

    def action_step(self, by: int) -> None:
        """To the next entry that is shown."""
        entries = self._log.entries
        at = len(entries) if self.cursor is None and by < 0 else (-1 if self.cursor is None else self.cursor)
        at += by
        while 0 <= at < len(entries) and entries[at].kind == "rejected" and not self.rejected:
            at += by
        if 0 <= at < len(entries):
            self._move(at)

    def action_line(self, by: int) -> None:
        """To the line above or below, as near as may be."""
        if self.cursor is None:
            self.action_step(by)
            return
        y = self._lines.line_of(self.cursor)
        before = next(i for i, p in enumerate(self._lines.lines[y]) if p.entry == self.cursor)
        while 0 <= (y := y + by) < len(self._lines.lines):
            row = [p for p in self._lines.lines[y] if p.kind != "separator"]
            if row:
                self._move(row[min(before, len(row) - 1)].entry)
                return

    def action_edge(self, index: int) -> None:
        if self._log.entries:
            self._move(index % len(self._log.entries))

    def _move(self, entry: int) -> None:
        self.cursor = entry
        y = self._lines.line_of(entry)
        self.scroll_to_region(Region(0, y, 1, 1), animate=False)

    def _entry_at(self, event: events.MouseEvent) -> int | None:
        at = event.get_content_offset(self)
        return None if at is None else self._lines.entry_at(at.x, at.y + self.scroll_offset.y)

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        self._lines = Lines(self._log, width, rejected=self.rejected, separators=self.separators)
        self._lines.extend()
        self._measure()

    def _measure(self) -> None:
        self.virtual_size = Size(self._lines.width, len(self._lines.lines))
        self.refresh()
