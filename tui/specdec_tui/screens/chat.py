"""The chat itself: the conversation and its figures, the prompt below them."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import TextArea

from specdec.types import Message
from specdec_tui.core.chat import Chat, continued, open_chat
from specdec_tui.core.code import code_blocks
from specdec_tui.core.commands import choices, complete
from specdec_tui.core.config import GaugeLevel
from specdec_tui.core.conversation import Turn
from specdec_tui.core.files import asked
from specdec_tui.core.frames import FRAME
from specdec_tui.core.safe import safe
from specdec_tui.core.store import SavedSession
from specdec_tui.screens.answers import AnswersScreen
from specdec_tui.widgets.keyed import Keyed

_GAUGE_EVERY = 1 / 4
_WATCH_EVERY = 1.0
SUMMARISE = (
    "Summarise this conversation for somebody who goes on with it without having read it: what was asked, what was "
    "found and decided, names and numbers that count, and what is still open. In at most 200 words."
)
_TWICE = 2.0
"""Seconds in which the same key counts as twice."""


class ChatScreen(AnswersScreen):
    """One chat with one engine."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  (Textual declares it so)
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (12, "-low"), (20, "-high")]  # noqa: RUF012
    DEFAULT_CSS = """
    ChatScreen {
        #body { width: 100%; height: 1fr; }  /* 1fr would give way to the margins of what stands below */
        Transcript, TokenPane { width: 1fr; }
        GaugePanel, GaugeStrip { display: none; }
        &.-gauge.-begun.-wide GaugePanel { display: block; }
        &.-gauge.-begun.-narrow.-high GaugeStrip { display: block; }
        &.-narrow #who { margin: 0 0 1 0; }  /* so that all prompts are in sight at 60 x 20 */
        &.-tokens TokenPane { display: block; }
        &.-tokens Transcript { display: none; }
        &.-tiny Heading, &.-tiny Status { display: none; }
        &.-tiny Prompt { border: none; min-height: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Stop, or back", id="leave"),
        Binding("ctrl+c", "interrupt", "Stop, clear the line, twice: leave", priority=True, id="interrupt"),
        Binding("ctrl+t", "app.command('tokens')", "Tokens", id="tokens"),
        Binding("ctrl+r", "app.command('history')", "Earlier prompts of all chats", id="history"),
        Binding("ctrl+n", "app.command('new')", "New chat", id="new"),
        Binding("ctrl+o", "app.command('sessions')", "Sessions", id="sessions"),
        Binding("f2", "app.command('params')", "Parameters", id="params"),
        Binding("f3", "app.command('model')", "Models", id="model"),
        Binding("f4", "app.command('copy')", "Copy answer", id="copy"),
        Binding("f5", "app.command('compare')", "Compare", id="compare"),
        Binding("f6", "app.command('gauge')", "Gauge", priority=True, id="gauge"),  # over a text area's own
        Binding("f7", "app.command('retry')", "Answer again", priority=True, id="retry"),
        Binding("f8", "app.command('restart')", "Restart engine", id="restart"),
        Binding("f9", "take_offer", "Do what is offered", id="offer"),
        Binding("ctrl+g", "editor", "Write in an editor", id="editor"),
        Binding("ctrl+up", "earlier", "Earlier turns", id="earlier"),
    ]

    gauge_level: GaugeLevel = "calm"

    def compose(self) -> ComposeResult:
        yield self.heading
        with Horizontal(id="body"):
            yield self.transcript
        yield self.problem
        yield self.offers
        yield self.approval
        yield self.queue
        yield self.suggestions
        yield self.chips
        yield self.prompt
        yield self.status

    def on_mount(self) -> None:
        self.show_gauge(self.config.screen.gauge)
        self.prompt.focus()
        self.show_title()

    def show_gauge(self, level: GaugeLevel) -> None:
        self.gauge_level = level
        self.set_class(level != "off", "-gauge")
        for gauge in self.gauges:
            gauge.details = level == "full"

    async def begin(self) -> None:
        """Everything that the first paint does without."""
        from specdec_tui.widgets.gauge_panel import GaugePanel
        from specdec_tui.widgets.gauge_strip import GaugeStrip
        from specdec_tui.widgets.token_pane import TokenPane

        self.load_engine(self.engines.options)
        self.toolbox.read_folder(Path.cwd() if self.config.read_folder else None)
        self.run_worker(self.toolbox.serve(), group="tools", exit_on_error=False)
        self.pane, panel, strip = TokenPane(), GaugePanel(), GaugeStrip()
        await self.query_one("#body").mount(self.pane, panel)
        await self.mount(strip, before=self.problem)
        self.gauges = (panel, strip)
        self.show_gauge(self.gauge_level)
        self.pane.tokens.rejected = self.config.screen.rejected
        self.set_interval(_GAUGE_EVERY, self.refresh_gauge)
        self.set_interval(_WATCH_EVERY, self.watch_engine)

    # --------------------------------------------------------------------------- turns and chats

    async def action_turn(self, number: int, what: str) -> None:
        """A key on this very turn."""
        conversation = self.chat.conversation
        turn = conversation[number]
        prompt = conversation[turn.parent] if turn.is_answer and turn.parent else turn
        match what:
            case "copy" | "code":
                self.copy(turn, code=what == "code")
            case "retry":
                self.retry(prompt)
            case "edit":
                self.edit(prompt)
            case "tokens":
                self.show_tokens(number)
            case _:
                beside = conversation.beside(number, -1 if what == "before" else 1)
                if beside != number and not self.running:
                    self.chat.show(beside)
                    await self.transcript.show(conversation)
                    if view := self.transcript.view(beside):
                        view.focus()

    def copy(self, turn: Turn, *, code: bool) -> None:
        blocks = code_blocks(turn.text)
        if code and not blocks:
            self.toast("no code block there")
            return
        self.app.copy_to_clipboard(safe(blocks[-1] if code else turn.text))

    async def open(self, saved: SavedSession | None) -> None:
        """Another chat, or a new one."""
        while self.busy:  # a prompt that waited may have gone out as the answer before it ended
            self.cancel()
            await asyncio.sleep(FRAME)
        chat, note = open_chat(self.config.settings, saved, self.chat)
        if note:
            self.toast(note)
        await self.show_chat(chat)

    async def show_chat(self, chat: Chat) -> None:
        """In the place of the one that is left."""
        self.chat, self.generation = chat, None
        self.offers.take()
        self.edit(None)
        self.prompt.earlier = [asked(t.text)[0] for t in self.chat.conversation.path() if t.message.role == "user"]
        self.prompt.remember("")
        await self.transcript.show(self.chat.conversation)
        self.show_tokens(None)
        self.show_title()
        self.prompt.focus()

    @work(exclusive=True, group="answer")
    async def summarise(self) -> None:
        """Have the chat summed up, as its last turn, and go on in another one that knows it."""
        chat = self.chat
        turn = chat.add(Message("user", SUMMARISE), chat.conversation.head)
        await self.transcript.add(chat.conversation, [turn])
        await self._answers(turn, branch=False)
        answer = chat.conversation.last("assistant")
        if answer and answer.parent == turn.id and answer.state == "done":
            await self.show_chat(continued(chat, [], answer.text))

    # --------------------------------------------------------------------------- keys

    def action_leave(self) -> None:
        """The nearest thing that can be left."""
        self.problem.show("")
        if self.suggestions.chosen:
            self.suggestions.offer(())
        elif self.busy:
            self.cancel()
        elif self.shows_tokens:
            self.show_tokens(None)
        elif self._editing:
            self.edit(None)
            self.prompt.clear_all()
        else:
            self.offers.take()
        self.prompt.focus()

    def action_interrupt(self) -> None:
        """What Ctrl+C means in a terminal: copies what is selected, else stops, else clears the line, else leaves."""
        now = time.monotonic()
        if self.prompt.selected_text:
            self.prompt.action_copy()
        elif self.get_selected_text():
            self.action_copy_text()
        elif self.busy:
            self.cancel()
        elif self.prompt.text:
            self.prompt.remember(self.prompt.text)  # Up brings it back
            self.prompt.clear_all()
        elif now - self._leaving < _TWICE:
            self.app.exit()
        else:
            self._leaving = now
            self.toast("Ctrl+C again leaves")

    def action_page(self, by: int) -> None:
        """Scroll what is read, from wherever the focus is."""
        shown = self.pane.tokens if self.shows_tokens and self.pane else self.transcript
        (shown.scroll_page_up if by < 0 else shown.scroll_page_down)(animate=False)

    def on_key(self, event: events.Key) -> None:
        """What nothing else takes is meant for the prompt."""
        if self.focused is self.prompt or any(key in self.active_bindings for key in event.aliases):
            return
        if event.key == "enter":
            self.prompt.focus()
            self.prompt.call_later(self.prompt.send)  # sent from here, it would not pass this screen
        elif event.is_printable and event.character:
            self.prompt.focus()
            self.prompt.insert(event.character)

    def on_paste(self, event: events.Paste) -> None:
        if self.focused is not self.prompt:
            self.prompt.focus()
            self.prompt.post_message(events.Paste(event.text))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.status.show_keys(next((n.KEYS for n in event.widget.ancestors_with_self if isinstance(n, Keyed)), ""))

    async def action_take_offer(self) -> None:
        if command := self.offers.take():
            await self.app.run_action(f"command({command.removeprefix('/')!r})")

    def action_editor(self) -> None:
        """What is written goes on in the user's own editor."""
        command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        with tempfile.TemporaryDirectory(prefix="specdec-") as folder:
            file = Path(folder, "prompt.md")
            file.write_text(self.prompt.whole, "utf-8")
            try:
                with self.app.suspend():
                    subprocess.run([*command, str(file)], check=True)  # noqa: S603  (the user's own command)
            except (OSError, subprocess.CalledProcessError, SuspendNotSupported) as error:
                self.toast(error)
                return
            written = file.read_text("utf-8").removesuffix("\n")
        self.prompt.clear_all()
        self.prompt.put(written)

    async def action_earlier(self) -> None:
        await self.transcript.show_earlier(self.chat.conversation)

    @on(TextArea.Changed, "#prompt")
    def _suggest(self, event: TextArea.Changed) -> None:
        line = event.text_area.text
        self.suggestions.offer(complete(line, lambda kind: choices(kind, self.config, self.chat.store)))
        self.chips.show(line)
