"""ChatApp: joins the chat, its engine and the screen."""

from __future__ import annotations

import gc
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import TextArea

from specdec.errors import SpecDecError
from specdec.types import Message
from specdec_tui import desk
from specdec_tui.answering import Answering
from specdec_tui.core.chat import Chat
from specdec_tui.core.commands import complete, is_command, parse
from specdec_tui.core.config import Config
from specdec_tui.core.conversation import Turn
from specdec_tui.core.engines import EngineChoice, Open, causes
from specdec_tui.core.safe import one_line
from specdec_tui.core.store import Saved, Store
from specdec_tui.dials import Dials
from specdec_tui.themes import THEMES
from specdec_tui.widgets.heading import Heading
from specdec_tui.widgets.prompt import Prompt
from specdec_tui.widgets.status import Status
from specdec_tui.widgets.suggestions import Suggestions
from specdec_tui.widgets.transcript import Earlier, Transcript
from specdec_tui.widgets.turn import TurnView

if TYPE_CHECKING:
    from specdec_tui.doing import Doing
    from specdec_tui.widgets.gauge_body import Dial
    from specdec_tui.widgets.gauge_panel import GaugePanel
    from specdec_tui.widgets.gauge_strip import GaugeStrip
    from specdec_tui.widgets.token_pane import TokenPane


def _palette() -> type[Provider]:
    """Imported when the palette is opened."""
    from specdec_tui.palette import Commands

    return Commands


_GAUGE_EVERY = 1 / 4
_WATCH_EVERY = 1.0


class ChatApp(App[None]):
    """One chat on the screen. `opening` makes engines; `database` is where sessions are kept, None for nowhere;
    `resume` is a session's id, or "last"."""

    TITLE = "SpecDec"
    COMMANDS = {_palette}  # noqa: RUF012  (Textual declares it so)
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  (Textual declares them so)
        (0, "-narrow"),
        (100, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (12, "-low"), (20, "-high")]  # noqa: RUF012
    CSS = """
    #body { height: 1fr; }
    Transcript, TokenPane { width: 1fr; }
    GaugePanel, GaugeStrip { display: none; }
    .-gauge.-wide GaugePanel { display: block; }
    .-gauge.-narrow.-high GaugeStrip { display: block; }
    .-tokens TokenPane { display: block; }
    .-tokens Transcript { display: none; }
    .-tiny Heading, .-tiny Status { display: none; }
    .-tiny Prompt { border: none; min-height: 1; }
    Toast { max-width: 90%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", priority=True),  # over a screen that is open, too
        ("escape", "leave", "Stop, or back"),
        ("ctrl+t", "do('tokens')", "Tokens"),
        ("ctrl+r", "do('retry')", "Answer again"),
        ("ctrl+n", "do('new')", "New chat"),
        ("ctrl+o", "do('sessions')", "Sessions"),
        ("ctrl+g", "do('gauge')", "Gauge"),
        ("f2", "do('params')", "Parameters"),
        ("f3", "do('model')", "Models"),
        ("f4", "do('copy')", "Copy answer"),
        ("f5", "do('compare')", "Compare"),
        ("f8", "do('restart')", "Restart engine"),
        ("ctrl+up", "earlier", "Earlier turns"),
    ]

    def __init__(
        self, config: Config, opening: Open, *, database: Path | None = None, resume: str | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.chat = Chat(config.settings)
        self.desk = desk.Desk(opening, config.engine, self.post_message)
        self.answering = Answering(self)
        self.dials = Dials(self)
        self.store: Store | None = None
        self.pane: TokenPane | None = None
        self.gauges: tuple[GaugePanel | GaugeStrip, ...] = ()
        self.unsaved = 0
        """Changes that could not be written, known at the end."""
        self._database, self._resume = database, resume
        self._editing: Turn | None = None
        self._queued: str | None = None
        self._down: str | None = None
        """What was last said of an engine that takes no requests."""
        self._doing: Doing | None = None
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = config.screen.theme

    # --------------------------------------------------------------------------- what is there

    def compose(self) -> ComposeResult:
        self.heading, self.transcript, self.prompt, self.status = Heading(), Transcript(), Prompt(), Status()
        self.suggestions = Suggestions()
        yield self.heading
        with Horizontal(id="body"):
            yield self.transcript
        yield self.suggestions
        yield self.prompt
        yield self.status

    @property
    def main(self) -> Screen[object]:
        """The chat itself, under whatever is open over it."""
        return self.screen_stack[0]

    @property
    def doing(self) -> Doing:
        """The slash commands, made when the first one is given."""
        if self._doing is None:
            from specdec_tui.doing import Doing

            self._doing = Doing(self)
        return self._doing

    # --------------------------------------------------------------------------- beginning and end

    def on_mount(self) -> None:
        self.screen.set_class(self.config.screen.gauge, "-gauge")
        self.prompt.focus()
        self.title_changed()
        self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        """Everything that the first paint did without."""
        from specdec_tui.widgets.gauge_panel import GaugePanel
        from specdec_tui.widgets.gauge_strip import GaugeStrip
        from specdec_tui.widgets.token_pane import TokenPane

        self.load(self.config.engine)
        self.pane, panel, strip = TokenPane(), GaugePanel(), GaugeStrip()
        await self.main.query_one("#body").mount(self.pane, panel)
        await self.main.mount(strip, before=self.suggestions)
        self.gauges = (panel, strip)
        self.pane.tokens.rejected = self.config.screen.rejected
        self.set_interval(_GAUGE_EVERY, self.dials.refresh)
        self.set_interval(_WATCH_EVERY, self.watch_engine)
        if self._database:
            await self._open_store(self._database)
        gc.freeze()  # looking through all that was imported took a tenth of a second, once a second of streaming

    async def _open_store(self, path: Path) -> None:
        from specdec_tui.core.opening import open_store

        try:
            self.store, note = open_store(path, self._saving)
        except Exception as error:  # noqa: BLE001  (a chat that cannot be saved is still a chat)
            self.tell(f"this chat is not saved: {error}")
            return
        if note:
            self.tell(note)
        if not len(self.chat.conversation) and self._resume:
            await self._resume_session(self._resume)
        self.chat.save_in(self.store)

    async def _resume_session(self, session: str) -> None:
        assert self.store
        if session == "last":
            session = next((s.id for s in self.store.sessions(1)), "")
        saved = self.store.load(session)
        if saved:
            await self.open(saved)
        elif session:
            self.tell(f"there is no session {session!r}; /sessions lists them")

    def _saving(self, why: str | None) -> None:
        """Called in the journal's thread."""
        text = f"not saved yet: {why}; it is tried again" if why else "saved again"
        self.call_later(self.tell, text)

    async def on_unmount(self) -> None:
        self.answering.cancel()
        if self.store:
            self.unsaved = self.store.close()
        self.desk.close()

    # --------------------------------------------------------------------------- telling

    def tell(self, what: object) -> None:
        """One line, safe to show."""
        bad = isinstance(what, BaseException)
        text = causes(what) if isinstance(what, BaseException) else what
        self.notify(one_line(text), severity="error" if bad else "information", markup=False)

    def title_changed(self) -> None:
        engine = self.desk.choice.name
        if self.desk.engine is not None:
            info = self.desk.engine.info
            drafts = info.draft or ", ".join(info.drafters) or "nothing that drafts"
            engine = f"{info.target} + {drafts} · {info.device} {info.dtype}"
        title = one_line(self.chat.title) or "New chat"
        self.heading.show(title=title, engine=one_line(engine))

    def show_dial(self, dial: Dial) -> None:
        for gauge in self.gauges:
            if gauge.display:
                gauge.show(dial)
        if dial.info:
            self.status.fill(dial.context_used, dial.info.context)

    # --------------------------------------------------------------------------- the engine

    def load(self, choice: EngineChoice) -> None:
        self.answering.cancel()
        self.dials.forget()
        self.desk.load(choice)
        self.status.say(f"loading {one_line(choice.name)}")
        self.title_changed()

    def on_progress(self, event: desk.Progress) -> None:
        self.status.say(f"loading {event.stage} {event.fraction:.0%}", style="$primary")

    async def on_ready(self) -> None:
        self.status.say("ready")
        self.title_changed()
        await self.dials.ask()
        if self._queued:
            text, self._queued = self._queued, None
            self.ask(text)

    def on_failed(self, event: desk.Failed) -> None:
        self.tell(event.error)
        if event.previous:
            self.load(event.previous)
        else:
            self.status.say(
                f"no engine: {one_line(causes(event.error), 120)} · F8 tries again, F3 models", style="$error"
            )

    def watch_engine(self) -> None:
        """Now and then: whether the engine is still there, and what it says of itself."""
        before, self._down = self._down, self.desk.down
        if self._down:
            self.status.say(f"{one_line(self._down, 80)} · F8 restarts it, the chat stays", style="$error")
        elif self.answering.running:
            self._ask_figures()
        elif before and self.desk.engine:  # it was only silent for a while
            self.status.say("ready")

    def _ask_figures(self) -> None:
        self.run_worker(self.dials.ask(), group="stats", exit_on_error=False)

    # --------------------------------------------------------------------------- asking

    @on(Prompt.Sent)
    async def _sent(self, event: Prompt.Sent) -> None:
        if event.text.startswith("/"):
            await self._command_typed(event.text)
        elif self.answering.running:
            self.tell("still answering; Esc stops it")
        else:
            self.prompt.remember(event.text)
            self.prompt.clear_all()
            self.ask(event.text)

    async def _command_typed(self, line: str) -> None:
        """What is marked among the suggestions stands for a name that was typed in part."""
        chosen = self.suggestions.chosen
        if chosen and " " not in line and not is_command(line):
            line = chosen.line
            if line.endswith(" "):
                self.prompt.put(line)
                return
        self.prompt.remember(line)
        self.prompt.clear_all()
        await self.command(line)

    async def command(self, line: str) -> None:
        """A slash command, as typed. What is wrong with it is told, and nothing is lost."""
        try:
            name, argument = parse(line)
            await self.doing.do(name, argument)
        except (SpecDecError, OSError, sqlite3.Error) as error:
            self.tell(error)

    def ask(self, text: str) -> None:
        """A prompt after the shown path, or in place of the one that is edited."""
        if self.desk.engine is None:
            self._queued = text
            self.prompt.border_title = "goes out when the engine is ready"
            return
        parent = self._editing.parent if self._editing else self.chat.conversation.head
        self.say(Message("user", text), parent, anew=self._editing is not None)

    @work(exclusive=True, group="answer")
    async def say(self, message: Message, parent: int | None, *, anew: bool = False) -> None:
        """A turn of the user's side, and its answer. `anew`: it begins another branch."""
        self.edit(None)
        turn = self.chat.say(message, parent)
        self.title_changed()
        if anew:
            await self.transcript.show(self.chat.conversation)
        else:
            await self.transcript.add(self.chat.conversation, [turn])
        await self._answered(turn)

    @work(exclusive=True, group="answer")
    async def retry(self, prompt: Turn) -> None:
        """Another answer to the same turn, beside those there are."""
        self.chat.conversation.head = prompt.id
        await self.transcript.show(self.chat.conversation)
        await self._answered(prompt)

    async def _answered(self, turn: Turn) -> None:
        if self.desk.engine is None:
            self.tell("there is no engine: F8 tries again, F3 chooses another")
            return
        self.status.say("answering · Esc stops", style="$primary")
        await self.answering.answer(self.desk.engine, turn)
        self._ask_figures()  # a short answer is over before anyone looked
        if self.desk.engine is not None and not self.desk.down:
            self.status.say("ready")
        self.title_changed()
        self.dials.refresh()

    def edit(self, turn: Turn | None) -> None:
        """Write an earlier prompt anew; None leaves that."""
        self._editing = turn
        self.prompt.border_title = "editing an earlier prompt: Enter branches, Esc leaves" if turn else ""
        if turn:
            self.prompt.put(turn.text)
            self.prompt.focus()

    # --------------------------------------------------------------------------- other chats

    async def open(self, saved: Saved | None) -> None:
        """Another chat, or a new one."""
        self.answering.cancel()
        await self.workers.wait_for_complete(w for w in self.workers if w.group == "answer")
        self.answering.live = None
        self.chat = Chat(self.config.settings, saved)
        self.chat.store = self.store
        self.edit(None)
        self.prompt.earlier = [t.text for t in self.chat.conversation.path() if t.message.role == "user"]
        self.prompt.remember("")
        await self.transcript.show(self.chat.conversation)
        self.show_tokens(None)
        self.title_changed()
        self.prompt.focus()

    # --------------------------------------------------------------------------- keys

    async def action_do(self, name: str) -> None:
        await self.command(f"/{name}")

    def action_leave(self) -> None:
        """The nearest thing that can be left."""
        if self.prompt.offering:
            self._offer("")
        elif self.answering.running:
            self.answering.cancel()
        elif self.shows_tokens:
            self.show_tokens(None)
        elif self._editing:
            self.edit(None)
            self.prompt.clear_all()
        self.prompt.focus()

    def action_help(self) -> None:
        from specdec_tui.screens.help import HelpScreen

        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        else:
            self.push_screen(HelpScreen(self.focused or self.screen))

    async def action_earlier(self) -> None:
        await self.transcript.show_earlier(self.chat.conversation)

    @property
    def shows_tokens(self) -> bool:
        return self.main.has_class("-tokens")

    def show_tokens(self, turn: int | None) -> None:
        """An answer as tokens in the transcript's place; None goes back."""
        self.main.set_class(turn is not None, "-tokens")
        if turn is not None and self.pane:
            self.pane.show(self.answering.log(turn))
            self.pane.tokens.focus()

    @on(Earlier.Wanted)
    async def _earlier(self) -> None:
        await self.action_earlier()

    @on(TurnView.Asked)
    async def _asked(self, event: TurnView.Asked) -> None:
        await self.doing.on_turn(event.what, self.chat.conversation[event.turn])

    @on(TextArea.Changed, "#prompt")
    def _typed(self, event: TextArea.Changed) -> None:
        self._offer(event.text_area.text)

    @on(Prompt.Wanted)
    def _wanted(self, event: Prompt.Wanted) -> None:
        suggestions = self.suggestions
        if not event.accept:
            suggestions.step(event.step)
        elif suggestions.chosen:
            self.prompt.put(suggestions.chosen.line)

    def _offer(self, line: str) -> None:
        found = complete(line, self.doing.choices) if line.startswith("/") else []
        self.prompt.offering = bool(found)
        self.suggestions.offer(found)
