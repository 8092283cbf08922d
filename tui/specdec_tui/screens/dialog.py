"""What all screens have, and those that open over the chat."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.errors import NoWidget
from textual.geometry import Offset
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

T = TypeVar("T")


class Clicked(Screen[T]):
    """A click on what is still drawn but was just removed hits nothing. In Textual's own it ends the app."""

    def get_widget_and_offset_at(self, x: int, y: int) -> tuple[Widget | None, Offset | None]:
        try:
            widget, _ = self.get_widget_at(x, y)
        except NoWidget:
            return None, None
        there = widget is self or widget.is_attached
        return super().get_widget_and_offset_at(x, y) if there else (None, None)


class ClosesOnce(Clicked[T]):
    """Textual's own close whatever is on top, and so the one below or the app when a key comes twice at once."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        if self not in self.app.screen_stack:
            return AwaitComplete()
        self.workers.cancel_node(self)  # now: what they would show on is about to go
        self.pop_until_active()  # help may be open over it
        return super().dismiss(result)


class Dialog(ModalScreen[T], ClosesOnce[T]):
    """One of them; how it looks comes from the first of these."""
