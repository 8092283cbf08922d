"""A list to choose from."""

from __future__ import annotations

from contextlib import suppress

from textual import events
from textual.app import ComposeResult
from textual.widgets import OptionList, Select
from textual.widgets._select import SelectOverlay


class Options(OptionList):
    """Textual's own falls over a page key before it was laid out, or where it has no room, and over a click on a line
    that goes at that moment."""

    async def _on_click(self, event: events.Click) -> None:
        if event.style.meta.get("option", -1) >= self.option_count:
            event.prevent_default()

    def action_page_up(self) -> None:
        with suppress(KeyError):
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        with suppress(KeyError):
            super().action_page_down()  # type: ignore[no-untyped-call]


class _Unfolded(SelectOverlay, Options):
    """Looks as Textual's own."""


class Folded(Select[str]):
    """One line, from which such a list opens."""

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            yield _Unfolded().data_bind(compact=Select.compact) if isinstance(widget, SelectOverlay) else widget
