"""ChatApp: one chat on the screen, its engine and its file behind it."""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
from codecs import getincrementaldecoder
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.css.query import NoMatches

from specdec.errors import InvalidRequest, SpecDecError
from specdec_tui.commands import SlashCommands
from specdec_tui.core import sequences
from specdec_tui.core.clipboard import copy
from specdec_tui.core.commands import COMMANDS, for_app, parse
from specdec_tui.core.config import Config
from specdec_tui.core.engines import EngineManager, Loaded, LoadFailed, Loading, OpenEngine
from specdec_tui.core.store import Store
from specdec_tui.key_parser import KeyParser
from specdec_tui.key_queue import KeyQueue
from specdec_tui.screens.chat import ChatScreen
from specdec_tui.screens.dialog import ClosesOnce, open_once
from specdec_tui.themes import THEMES
from specdec_tui.widgets.prompt import Prompt
from specdec_tui.widgets.transcript import Transcript
from specdec_tui.widgets.turn import TurnView

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.dom import DOMNode
    from textual.driver import Driver


def _palette() -> type[Provider]:
    """Imported when the palette is opened."""
    from specdec_tui.palette import CommandProvider

    return CommandProvider


class ChatApp(App[None]):
    """`opening` makes engines; `database` is where sessions are kept, None for nowhere; `resume` is a session's id, or
    "last"; `typed` is what was typed before there was a prompt; `question` is asked first."""

    TITLE = "SpecDec"
    COMMANDS = {_palette}  # noqa: RUF012  (Textual declares it so)
    CSS = """
    ToastRack { dock: top; margin: 1 0 0 0; }  /* never over the prompt */
    Toast { max-width: 90%; }
    CommandPalette > Vertical { max-width: 100; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", priority=True),  # over a screen that is open, too
    ]

    def __init__(
        self,
        config: Config,
        opening: OpenEngine,
        *,
        database: Path | None = None,
        resume: str | None = None,
        typed: str = "",
        question: str = "",
    ) -> None:
        keys = ["alt+enter", *(key.strip() for given in config.keys.values() for key in given.split(","))]
        self._with_alt = {key for key in keys if key.startswith("alt+")}
        super().__init__()
        self.engines = EngineManager(opening, config.engine, partial(self.call_later, self._engine_changed))
        self.main = ChatScreen(config, self.engines)
        """The chat itself, under whatever is open over it."""
        self.commands = SlashCommands(self.main)
        self.store: Store | None = None
        self.unsaved = 0
        """Changes that could not be written, known at the end."""
        self._database, self._resume, self._typed, self._question = database, resume, typed, question
        self._keys = KeyQueue(self, super().on_event)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = config.screen.theme
        known = [b.id for b in self.main.BINDINGS if isinstance(b, Binding) and b.id]
        if unknown := sorted(set(config.keys) - set(known)):
            raise InvalidRequest("keys", ", ".join(unknown), "one of " + ", ".join(known))
        self.set_keymap(config.keys)

    def get_default_screen(self) -> ChatScreen:
        return self.main

    # --------------------------------------------------------------------------- beginning and end

    def get_driver_class(self) -> type[Driver]:
        """A byte that is no UTF-8, as terminals of other encodings send, is a character that cannot be read. Textual's
        drivers end the app at one. And `KeyParser` tells Esc from Alt."""
        driver = super().get_driver_class()
        names = vars(sys.modules[driver.__module__])
        if "XTermParser" in names:
            names["XTermParser"] = partial(KeyParser, self._with_alt)
        if "getincrementaldecoder" in names:
            names["getincrementaldecoder"] = lambda encoding: partial(getincrementaldecoder(encoding), "replace")
        return driver

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, (events.Key, events.Paste)) and not event.is_forwarded:
            await self._keys.put(event)
        else:
            await super().on_event(event)

    def panic(self, *renderables: RenderableType) -> None:
        """What ends the app is no success, in the thread that reads keys either. That thread also falls where the
        terminal is closed, of which the code tells already."""
        self._return_code = self._return_code or 1
        super().panic(*renderables)

    def on_mount(self) -> None:
        self.say(sequences.KEEP_TITLE)
        self.call_after_refresh(self._begin)

    def watch_title(self, title: str) -> None:
        """Of the terminal's window too."""
        self.say(sequences.title(title))

    def say(self, sequence: str) -> None:
        """To the terminal itself."""
        if self._driver:
            self._driver.write(sequence)

    def copy_to_clipboard(self, text: str) -> None:
        self._clipboard = text
        self.main.toast(copy(text, os.environ, self.say))

    async def _begin(self) -> None:
        """Everything that the first paint did without."""
        *entered, begun = self._typed.split("\n")
        self.main.prompt.put(begun + self.main.prompt.text)
        for line in filter(str.strip, entered):
            if for_app(line):
                await self.command(line)
            else:
                self.main.queue.put(line)
        await self.main.begin()
        if self._database:
            await self._open_store(self._database)
        if self._question:
            self.main.queue.put(self._question)
            self.main.send_next()
        gc.freeze()  # looking through all that was imported took a tenth of a second, once a second of streaming

    async def _open_store(self, path: Path) -> None:
        from specdec_tui.core.open_store import open_store

        def report(why: str | None) -> None:
            text = f"not saved yet: {why}; it is tried again" if why else "saved again"
            self.call_later(self.main.toast, text)  # from the thread that writes

        try:
            self.store, note = open_store(path, report)
        except Exception as error:  # noqa: BLE001  (a chat that cannot be saved is still a chat)
            self.main.toast(f"this chat is not saved: {error}")
            return
        if note:
            self.main.toast(note)
        self.main.chat.save_in(self.store)
        if not len(self.main.chat.conversation) and self._resume:
            latest = [s.id for s in self.store.sessions(1)] if self._resume == "last" else [self._resume]
            if saved := self.store.load(latest[0]) if latest else None:
                await self.main.open(saved)
            elif latest:
                self.main.toast(f"there is no session {self._resume!r}; /sessions lists them")

    async def on_unmount(self) -> None:
        self.say(sequences.TITLE_BACK)
        self.main.cancel()
        if self.store:
            self.unsaved = self.store.close()
        await self.main.toolbox.close()
        self.engines.close()

    # --------------------------------------------------------------------------- the engine

    async def _engine_changed(self, event: Loading | Loaded | LoadFailed) -> None:
        status = self.main.status
        match event:
            case Loading(stage, fraction):
                status.show_state(f"loading {stage} {fraction:.0%}", style="$primary")
            case Loaded():
                await self.main.engine_loaded()
            case LoadFailed(error, previous):
                self.main.toast(error)
                if previous:
                    self.main.load_engine(previous)
                else:
                    self.main.watch_engine()

    # --------------------------------------------------------------------------- commands

    @on(Prompt.Submitted)
    async def _submitted(self, event: Prompt.Submitted) -> None:
        """Commands and questions in the order in which they were written."""
        if for_app(event.text):
            await self.command(event.text)
        else:
            self.main.ask(event.text)

    async def command(self, line: str) -> None:
        """A slash command, as typed or by its key. What is wrong with it is shown in place of what was wrong before."""
        self.main.problem.show("")
        try:
            await self.commands.run(*parse(line))
        except (SpecDecError, OSError, sqlite3.Error, ValueError) as error:  # a file that is no text, a null in a name
            self.main.toast(error)

    async def _dispatch_action(self, namespace: DOMNode, action_name: str, params: Any) -> bool:
        try:
            return await super()._dispatch_action(namespace, action_name, params)
        except NoMatches:
            if isinstance(namespace, ClosesOnce) and not namespace.there:
                return False
            raise

    async def action_command(self, name: str) -> None:
        await self.command(f"/{name}")

    async def action_palette_command(self, name: str) -> None:
        """Run a command, or begin its line in the prompt if it wants an argument."""
        usage = next(c.usage for c in COMMANDS if c.name == name)
        if usage and not usage.startswith("["):
            self.main.prompt.put(f"/{name} ")
            self.main.prompt.focus()
        else:
            await self.command(f"/{name}")

    def action_command_palette(self) -> None:
        from specdec_tui.palette import PagedPalette

        open_once(self, PagedPalette())

    def action_help(self) -> None:
        from specdec_tui.screens.help import HelpScreen
        from specdec_tui.widgets.token_view import TokenView

        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        else:
            keys = [*self.BINDINGS, *self.main.BINDINGS]
            others = (Prompt, Transcript, TurnView, TokenView)
            open_once(self, HelpScreen(self.focused or self.screen, keys, others))
