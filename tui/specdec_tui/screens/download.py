"""A model comes from the hub: how much, how fast, how long yet."""

from __future__ import annotations

from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import ProgressBar, Static

from specdec.errors import SpecDecError
from specdec.hub import fetch, progress
from specdec_tui.core.safe import one_line
from specdec_tui.screens.dialog import Dialog


class DownloadScreen(Dialog[bool]):
    """Returns whether all is here. What came stays, and the next time it goes on from there."""

    HELP = "# Download\n\n`Esc` ends it. The next time it goes on from where it was.\n"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(False)", "Cancel")]
    DEFAULT_CSS = """
    DownloadScreen { align: center middle; }
    DownloadScreen > Vertical {
        width: 72; max-width: 96%; height: auto; padding: 1 2; background: $surface; border: round $primary;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    DownloadScreen ProgressBar, DownloadScreen Bar { width: 100%; }
    DownloadScreen Bar > .bar--bar { background: $border; }
    DownloadScreen #how { margin: 1 0 0 0; }
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"Fetching {one_line(self._model, 50)}")
            box.border_subtitle = "Esc cancels; the next time it goes on from there"
            yield ProgressBar(show_eta=False)
            yield Static("asking the hub …", id="how", markup=False)

    def on_mount(self) -> None:
        self._fetch()

    @work
    async def _fetch(self) -> None:
        how = self.query_one("#how", Static)
        try:
            async with aclosing(fetch(self._model)) as steps:
                async for step in steps:
                    self.query_one(ProgressBar).update(progress=step.done, total=step.total or None)
                    how.update(progress(step))
        except SpecDecError as error:
            how.update(Content.styled(one_line(error, 400), "$error"))
        else:
            self.dismiss(True)
