"""What all screens have that open over the chat."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen

T = TypeVar("T")


class ClosesOnce(Screen[T]):
    """Textual's own close whatever is on top, and so the one below or the app when a key comes twice at once."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        if self not in self.app.screen_stack:
            return AwaitComplete()
        self.workers.cancel_node(self)  # now: what they would show on is about to go
        self.pop_until_active()  # help may be open over it
        return super().dismiss(result)


class Dialog(ModalScreen[T], ClosesOnce[T]):
    """One of them; how it looks comes from the first of these."""
