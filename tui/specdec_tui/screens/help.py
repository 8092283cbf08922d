"""Help on one page: whatever has the focus, the chat's keys and commands, and the keys of everything else. Keys are
read from the bindings: a list of its own would soon name one that does nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.keys import format_key

from specdec_tui.core.commands import COMMANDS
from specdec_tui.screens.dialog import Dialog
from specdec_tui.widgets.code_block import AnswerMarkdown

_NAMES = {"enter": "Enter", "pageup": "PgUp", "pagedown": "PgDn"}


class HelpScreen(Dialog[None]):
    """Leaves with any of the usual keys, F1 too."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 96; max-width: 96%; height: 90%; padding: 0 1; background: $surface; border: round $primary;
        border-title-color: $primary; scrollbar-size-vertical: 1;
        Markdown { padding: 0 1; background: transparent; }
        MarkdownH1, MarkdownH2 { content-align: left middle; margin: 1 0 0 0; }
        MarkdownBlock { margin: 1 0 0 0; }
    }
    """

    def __init__(self, about: DOMNode, chat: Iterable[BindingType], others: Iterable[type[DOMNode]]) -> None:
        super().__init__()
        self._about = next((node for node in about.ancestors_with_self if node.HELP), None)
        self._chat = chat
        self._others = [kind for kind in others if not isinstance(self._about, kind)]

    def compose(self) -> ComposeResult:
        about = [self._about.HELP or "", *_keys(self._about.BINDINGS)] if self._about else ["# SpecDec\n"]
        usages = (f" {c.usage}".replace("|", " or ") if c.usage else "" for c in COMMANDS)
        commands = [f"| `/{c.name}{usage}` | {c.help} |" for c, usage in zip(COMMANDS, usages, strict=True)]
        others = [line for kind in self._others for line in [f"\n#{kind.HELP}", *_keys(kind.BINDINGS)]]
        keys = ["\n## Keys of the chat\n", *_keys(self._chat), "\n## Commands\n"]
        with VerticalScroll() as scroll:
            scroll.border_title = "Help · Esc closes"
            text = "\n".join([*about, *keys, "| command | does |", "|---|---|", *commands, *others])
            yield AnswerMarkdown(text)


def _keys(bindings: Iterable[BindingType]) -> list[str]:
    rows = [b if isinstance(b, Binding) else Binding(*b) for b in bindings]
    lines = [f"| {', '.join(map(_key, b.key.split(',')))} | {b.description} |" for b in rows]
    return ["| key | does |", "|---|---|", *lines] if lines else []


def _key(name: str) -> str:
    """As it is written on keyboards."""
    *modifiers, key = name.strip().split("+")
    shown = _NAMES.get(key) or format_key(key)
    if shown.islower() and (modifiers or len(shown) > 1):
        shown = shown.capitalize()
    return "`" + "+".join([*(m.capitalize() for m in modifiers), shown]) + "`"
