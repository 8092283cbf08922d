"""A list to choose from."""

from __future__ import annotations

from contextlib import suppress

from textual import events
from textual.widgets import OptionList


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
