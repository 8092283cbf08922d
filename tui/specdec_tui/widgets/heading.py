"""The first line: what is talked about, and with whom."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from specdec_tui.widgets.changing import Changing


class Heading(Horizontal):
    """Title on the left, the engine on the right."""

    DEFAULT_CSS = """
    Heading {
        height: 1; background: $panel; padding: 0 1;
        #brand { width: auto; color: $primary; text-style: bold; }
        #title { width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        #engine { width: auto; max-width: 60%; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._title, self._engine = Changing("title"), Changing("engine")

    def compose(self) -> ComposeResult:
        yield Static("◆ SpecDec", id="brand", markup=False)
        yield self._title
        yield self._engine

    def show(self, *, title: str, engine: str) -> None:
        self._title.show(title)
        self._engine.show(engine)
