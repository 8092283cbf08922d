"""The gauge in a line or two, for small terminals."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.reactive import reactive

from specdec_tui.core.gauge import GaugeState
from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.gauge_body import note, strip


class GaugeStrip(Vertical):
    """Above it what has to be said, if anything."""

    DEFAULT_CSS = """
    GaugeStrip {
        height: auto; background: $surface; padding: 0 1;
        Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
        #note { display: none; color: $text-muted; text-wrap: wrap; }
        #note.-on { display: block; }
        #note.-alarm { background: $warning; color: $background; text-style: bold; }
    }
    """

    details: reactive[bool] = reactive(False)

    def __init__(self) -> None:
        super().__init__()
        self._note, self._lines = Changing("note"), Changing("lines")
        self._state = GaugeState()

    def compose(self) -> ComposeResult:
        yield self._note
        yield self._lines

    def show(self, state: GaugeState) -> None:
        self._state = state
        if self.display:
            self._draw()

    def on_show(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def watch_details(self) -> None:
        self._draw()

    def _draw(self) -> None:
        text, alarm = note(self._state)
        self._note.set_class(bool(text), "-on").set_class(alarm, "-alarm")
        self._note.show(text)
        self._lines.show(strip(self._state, self.size.width - 2, details=self.details))
