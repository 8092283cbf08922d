"""Help for whatever has the focus: what it is, its keys, the chat's keys and commands."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Markdown

from specdec_tui.core.commands import COMMANDS


class HelpScreen(ModalScreen[None]):
    """Leaves with any of the usual keys."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,f1,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 84; max-width: 96%; height: 90%; padding: 1 2; background: $surface; border: round $primary;
        border-title-color: $primary;
    }
    """

    def __init__(self, focused: Widget | None) -> None:
        super().__init__()
        self._about = focused

    def compose(self) -> ComposeResult:
        with VerticalScroll() as scroll:
            scroll.border_title = "Help · Esc closes"
            yield Markdown(self._text(), open_links=False)

    def _text(self) -> str:
        about = getattr(self._about, "HELP", None) or "# SpecDec\n"
        return "\n".join([about, "## Keys of the chat\n", *self._keys(), "\n## Commands\n", *_commands()])

    def _keys(self) -> list[str]:
        lines = [f"| `{b[0]}` | {b[2]} |" for b in self.app.BINDINGS if isinstance(b, tuple) and len(b) == 3]
        return ["| key | does |", "|---|---|", *lines]


def _commands() -> list[str]:
    lines = [f"| `/{c.name}{_usage(c.usage)}` | {c.help} |" for c in COMMANDS]
    return ["| command | does |", "|---|---|", *lines]


def _usage(usage: str) -> str:
    return f" {usage}".replace("|", " or ") if usage else ""
