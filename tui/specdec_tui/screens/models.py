"""Which target answers and what drafts for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from specdec.types import LoadOptions
from specdec_tui.core.models import ModelOption
from specdec_tui.core.safe import one_line
from specdec_tui.widgets.options import Options

_DRAFTERS = (
    ModelOption("auto", "bundled with bundled, else lookup"),
    ModelOption("none", "plain decoding, no lookup"),
    ModelOption("lookup", "text that repeats"),
)


class ModelsScreen(ModalScreen[tuple[str, str] | None]):
    """Returns target and draft."""

    HELP = """\
# Models

Choose a target on the left and what drafts on the right, or write a folder or a hub id below (a draft after `+`).
`Enter` loads both; `Tab` goes on.
"""
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]
    DEFAULT_CSS = """
    ModelsScreen { align: center middle; }
    ModelsScreen > Vertical {
        width: 96; max-width: 96%; height: 22; max-height: 96%; padding: 0 1; background: $surface;
        border: round $primary; border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ModelsScreen Horizontal { height: 1fr; }
    ModelsScreen Horizontal Vertical { width: 1fr; padding: 0 1; }
    ModelsScreen OptionList { height: 1fr; border: none; background: $surface; scrollbar-size-vertical: 1; }
    ModelsScreen OptionList:focus { background: $panel; }
    ModelsScreen Input { margin: 1; background: $panel; }
    """

    def __init__(self, options: LoadOptions, found: Sequence[ModelOption]) -> None:
        super().__init__()
        self._lists = {"targets": list(found), "drafts": [*_DRAFTERS, *found]}
        self._now = {"targets": options.target, "drafts": options.draft}

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Models", "Enter loads · Tab goes on · Esc closes"
            with Horizontal():
                for name, title in (("targets", "Target"), ("drafts", "Draft")):
                    with Vertical():
                        yield Static(title, markup=False)
                        lines = (
                            Content.assemble((one_line(m.name, 60), "bold"), (f"  {m.source}", "dim"))
                            for m in self._lists[name]
                        )
                        yield Options(*map(Option, lines), id=name)
            yield Input(placeholder="folder or hub id [+ draft]", compact=True)

    def on_mount(self) -> None:
        for name, found in self._lists.items():
            names = [m.name for m in found]
            at = names.index(self._now[name]) if self._now[name] in names else 0
            self.query_one(f"#{name}", OptionList).highlighted = at
        self.query_one("#targets").focus()

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        self.dismiss((self._marked("targets"), self._marked("drafts")))

    @on(Input.Submitted)
    def _written(self, event: Input.Submitted) -> None:
        target, _, draft = (part.strip() for part in event.value.partition("+"))
        if target:
            self.dismiss((target, draft or "auto"))

    def _marked(self, column: str) -> str:
        return self._lists[column][self.query_one(f"#{column}", OptionList).highlighted or 0].name
