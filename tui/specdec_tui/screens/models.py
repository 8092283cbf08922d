"""Which target answers and what drafts for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from specdec.errors import SpecDecError
from specdec.types import LoadOptions
from specdec_tui.core.files import expanded
from specdec_tui.core.models import ModelOption, search
from specdec_tui.core.safe import one_line
from specdec_tui.screens.dialog import Dialog
from specdec_tui.widgets.options import Options

_DRAFTERS = (
    ModelOption("auto", "what fits the target"),
    ModelOption("none", "plain decoding"),
    ModelOption("lookup", "text that repeats"),
)

_LONGEST = 50
"""Letters of a name."""
_HINT = "Enter loads · Tab goes on · Esc closes"
Choice = tuple[ModelOption, str]
Describe = Callable[[], AsyncGenerator[list[ModelOption]]]


class ModelsScreen(Dialog[Choice | None]):
    """Returns target and draft. `describe` gives longer lists as more is known."""

    HELP = """\
# Models

Choose a target on the left and what drafts on the right, or write below: a folder, a hub id (a draft after `+`), or
words to search the hub. `Enter` loads both, and fetches what is not here; `Tab` goes on.
"""
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]
    DEFAULT_CSS = """
    ModelsScreen { align: center middle; }
    ModelsScreen > Vertical {
        width: 110; max-width: 96%; height: 80%; padding: 0 1; background: $surface;
        border: round $primary; border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ModelsScreen Horizontal { height: 1fr; }
    ModelsScreen Horizontal Vertical { width: 3fr; }
    ModelsScreen Horizontal Static { padding: 0 1; }
    ModelsScreen #drafting { width: 2fr; margin: 0 0 0 2; }
    ModelsScreen OptionList { height: 1fr; border: none; background: $surface; scrollbar-size-vertical: 1; }
    ModelsScreen OptionList:focus { background: $panel; border: none; }
    ModelsScreen Input { margin: 1; background: $panel; }
    """

    def __init__(self, options: LoadOptions, found: Sequence[ModelOption], describe: Describe) -> None:
        super().__init__()
        self._now = {
            "targets": ModelOption(options.target, "chosen now", api_key=options.api_key),
            "drafts": ModelOption(options.draft, "chosen now"),
        }
        self._lists = self._with_present(found)
        self._describe = describe

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Models", _HINT
            with Horizontal():
                for name, title, place in (("targets", "Target", "answering"), ("drafts", "Draft", "drafting")):
                    with Vertical(id=place):
                        yield Static(title, markup=False)
                        yield Options(id=name)
            hint = "folder, hub id [+ draft], or words to search for"
            yield Input(placeholder=hint, select_on_focus=False, compact=True)

    def on_mount(self) -> None:
        for name in self._lists:
            self._show(name, self._now[name].name)
        self.query_one("#targets").focus()
        self._look()

    def on_key(self, event: events.Key) -> None:
        """What is typed over a list is written below."""
        field = self.query_one(Input)
        if event.is_printable and event.character and not field.has_focus:
            field.focus()
            field.insert_text_at_cursor(event.character)

    @work(group="describe")
    async def _look(self) -> None:
        async with aclosing(self._describe()) as lists:
            async for found in lists:
                marked = {name: self._marked(name).name for name in self._lists}
                self._lists = self._with_present(found)
                for name in self._lists:
                    self._show(name, marked[name])

    def _with_present(self, found: Sequence[ModelOption]) -> dict[str, list[ModelOption]]:
        """What is loaded may be of a folder or a server that nobody looks at."""
        lists = {"targets": [*found], "drafts": [*_DRAFTERS, *found]}
        for name, now in self._now.items():
            if all(m.name != now.name for m in lists[name]):
                lists[name].insert(0, now)
        return lists

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        self.dismiss((self._marked("targets"), self._marked("drafts").name))

    @on(Input.Submitted)
    def _written(self, event: Input.Submitted) -> None:
        target, _, draft = (part.strip() for part in event.value.partition("+"))
        if "/" in target or ":" in target or target == "bundled" or os.path.isdir(expanded(target)):
            self.dismiss((ModelOption(target, "written"), draft or "auto"))
        elif target:
            self._search(target)

    @work(exclusive=True, group="search")
    async def _search(self, words: str) -> None:
        self._hint("searching the hub …")
        try:
            found = await asyncio.to_thread(search, words)
        except SpecDecError as error:
            self._hint(one_line(error))
            return
        self.workers.cancel_group(self, "describe")
        self._lists["targets"] = found or self._lists["targets"]
        self._show("targets", "")
        self._hint(f"{len(found)} models of the hub · {_HINT}")
        if found:
            self.query_one("#targets").focus()

    def _show(self, name: str, marked: str) -> None:
        options, found = self.query_one(f"#{name}", OptionList), self._lists[name]
        options.clear_options()
        for m in found:
            parts: list[str | tuple[str, str]] = [(_named(m.name), "bold")]
            if name == "targets" or m in _DRAFTERS:
                parts.append((f"  {one_line(m.source, 40)}", "dim"))
            if name == "targets" and m.details:
                parts.append((f"\n{one_line(m.details, 90)}", "dim"))
            options.add_option(Option(Content.assemble(*parts)))
        names = [m.name for m in found]
        options.highlighted = names.index(marked) if marked in names else 0

    def _marked(self, column: str) -> ModelOption:
        return self._lists[column][self.query_one(f"#{column}", OptionList).highlighted or 0]

    def _hint(self, text: str) -> None:
        self.query_one(Vertical).border_subtitle = Content(text)


def _named(name: str) -> str:
    """A long path by its end."""
    line = one_line(name)
    return line if len(line) <= _LONGEST else f"…{line[1 - _LONGEST :]}"
