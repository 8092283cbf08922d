"""The first line: what is talked about, and with whom."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.figures import fitting

_SHARE = 0.6
"""Of the width, for the engine at most."""


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
        self._parts: Sequence[str] = ("",)

    def compose(self) -> ComposeResult:
        yield Static("◆ SpecDec", id="brand", markup=False)
        yield self._title
        yield self._engine

    def show(self, *, title: str, engine: Sequence[str]) -> None:
        """The last parts of what the engine is go first where they have no room."""
        self._title.show(title)
        self._parts = engine
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        self._engine.show(fitting(self._parts, round(_SHARE * self.size.width)))
