"""What an empty chat shows: who will answer and how, and prompts to begin with."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from specdec.types import EngineInfo
from specdec_tui.core.engines import draft_of, other_drafters
from specdec_tui.core.safe import one_line
from specdec_tui.splash import EXAMPLES, GREETING, HINTS
from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.figures import count
from specdec_tui.widgets.keyed import Keyed
from specdec_tui.widgets.options import Options

_PATHS = {
    "triton": "by kernels made for speed",
    "eager": "by torch",
    "transformers": "by transformers' own code of this model",
}
_DRAFTERS = {"lookup": "text that repeats in the chat", "memory": "recent answers"}


class Examples(Options, Keyed):
    """Prompts that can be chosen."""

    KEYS = "↑ ↓ choose · Enter asks · Esc prompt"
    HELP = "# Examples\n\n`Enter` asks the marked one.\n"
    DEFAULT_CSS = """
    Examples, Examples:focus { height: auto; border: none; padding: 0; background: $background; color: $text; }
    Examples:blur > .option-list--option-highlighted { background: $background; color: $text; text-style: none; }
    """


class Start(Vertical):
    """Leaves when there is a turn."""

    DEFAULT_CSS = """
    Start {
        height: auto; max-width: 104; padding: 0 3;
        Static { height: auto; color: $text-muted; }
        #who { margin: 1 0; }
        #hints { margin: 1 0 0 0; }
    }
    """

    class Chosen(Message):
        """An example is to be asked."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, info: EngineInfo | None) -> None:
        super().__init__(id="start")
        self._who = Changing("who")
        self._info = info

    def compose(self) -> ComposeResult:
        yield Static(GREETING, markup=False)
        yield self._who
        yield Static("Or take one of these (Tab, Enter):", markup=False)
        yield Examples(*(f"› {text}" for text in EXAMPLES), markup=False)
        yield Static(HINTS, id="hints", markup=False)

    def on_mount(self) -> None:
        self.show(self._info)

    def show(self, info: EngineInfo | None) -> None:
        """Of an engine that is there by now."""
        self._who.show(who(info) if info else Content("The model is not there yet; what you ask waits for it."))

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.post_message(self.Chosen(EXAMPLES[event.option_index]))


def who(info: EngineInfo) -> Content:
    """The model, what runs it, and what drafts for it, in words."""
    size = f", {count(info.parameters)} parameters" if info.parameters else ""
    runs = f"on {info.device} in {info.dtype}, " if info.device not in ("", "remote") else ""
    if info.speculation_unavailable:
        drafts = f"Nothing drafts: {info.speculation_unavailable}"
    else:
        drafters = [draft] if (draft := draft_of(info)) else []
        drafters += [_DRAFTERS.get(d, d) for d in other_drafters(info)]
        drafts = "Drafts come from " + ", ".join(drafters) if drafters else "It does not say what drafts"
        drafts += ". F5 shows what speculation brings" if info.speculation_optional else ""
    return Content.assemble(
        (one_line(info.target), "bold $text"),
        one_line(f"{size}, {runs}{_PATHS.get(info.backend, info.backend)}."),
        "\n",
        one_line(drafts) + ".",
    )
