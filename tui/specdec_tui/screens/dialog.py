"""What all screens have, and those that open over the chat."""

from __future__ import annotations

from typing import Any, TypeVar

from textual.app import App
from textual.await_complete import AwaitComplete
from textual.css.query import NoMatches
from textual.errors import NoWidget
from textual.geometry import Offset
from textual.message import Message
from textual.screen import ModalScreen, Screen, ScreenResultCallbackType
from textual.widget import Widget
from textual.worker import Worker

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
    """Closes itself, and what is open over it. Textual's own closes whatever is on top: the one above or below, or the
    app when a key comes twice at once."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        app = self.app
        if self not in app.screen_stack:
            return AwaitComplete()
        while app.screen is not self:
            app.screen.dismiss()
        self.workers.cancel_node(self)  # now: what they would show on is about to go
        return super().dismiss(result)

    @property
    def there(self) -> bool:
        """From its first frame to its end. A key may come before or after, when what it is meant for is not."""
        return self.is_mounted and self.is_attached and self in self.app.screen_stack

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except NoMatches:
            if self.there:
                raise

    def run_worker(self, *arguments: Any, **options: Any) -> Worker[Any]:
        """What a late key begins behind the end fails without ending the app."""
        options["exit_on_error"] = options.get("exit_on_error", True) and self in self.app.screen_stack
        return super().run_worker(*arguments, **options)


class Dialog(ModalScreen[T], ClosesOnce[T]):
    """One of them; how it looks comes from the first of these."""


def open_once(app: App[Any], screen: Screen[T], then: ScreenResultCallbackType[T] | None = None) -> None:
    """Nothing where one of its kind is open: keys that come at once ask for it twice."""
    if not any(type(shown) is type(screen) for shown in app.screen_stack):
        app.push_screen(screen, then)
