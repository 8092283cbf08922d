"""A screen with one chat and one engine: prompts go in, answers come out."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import on, work
from textual.content import Content
from textual.worker import Worker, WorkerState

from specdec.errors import InvalidRequest, SpecDecError
from specdec.types import LoadOptions, Message, Request, SpecStats
from specdec_tui.core.calls import CallRunner
from specdec_tui.core.chat import Chat
from specdec_tui.core.config import Config
from specdec_tui.core.conversation import Turn
from specdec_tui.core.engines import EngineManager, causes, draft_of, other_drafters, shares_cores
from specdec_tui.core.files import asked, with_files
from specdec_tui.core.frames import FRAME
from specdec_tui.core.generation import Generation
from specdec_tui.core.monitor import Monitor, context_used, known_context
from specdec_tui.core.offers import of_context, of_published_draft, of_training
from specdec_tui.core.safe import one_line
from specdec_tui.core.tokenlog import TokenLog
from specdec_tui.core.tools import Toolbox
from specdec_tui.screens.dialog import Clicked
from specdec_tui.widgets.approval import Approval
from specdec_tui.widgets.chips import Chips
from specdec_tui.widgets.heading import Heading
from specdec_tui.widgets.offer import OfferLine
from specdec_tui.widgets.problem import Problem
from specdec_tui.widgets.prompt import Prompt
from specdec_tui.widgets.queue import Queue
from specdec_tui.widgets.start import Start
from specdec_tui.widgets.status import Status
from specdec_tui.widgets.suggestions import Suggestions
from specdec_tui.widgets.transcript import Transcript
from specdec_tui.widgets.turn import AnswerView

if TYPE_CHECKING:
    from specdec_tui.widgets.gauge_panel import GaugePanel
    from specdec_tui.widgets.gauge_strip import GaugeStrip
    from specdec_tui.widgets.token_pane import TokenPane

_SHARED_FRAME = 0.1
"""Seconds between looks at an answer whose engine decodes on the cores that draw: its frames are rarer."""
_MOST_CALLING = 25
"""Answers that call tools before the user is asked on."""
_LOGS = 8
"""Answers whose tokens are kept."""


class AnswersScreen(Clicked[None]):
    """What happens between a prompt and its answer. Where everything stands and which keys there are: ChatScreen."""

    def __init__(self, config: Config, engines: EngineManager) -> None:
        super().__init__()
        self.config, self.engines = config, engines
        self.chat = Chat(config.settings)
        self.monitor = Monitor()
        self.generation: Generation | None = None
        """Under way, or the last one."""
        self.heading, self.transcript, self.status = Heading(), Transcript(), Status()
        self.suggestions, self.queue, self.problem = Suggestions(), Queue(), Problem()
        self.offers = OfferLine()
        self._leaving = 0.0
        self.prompt = Prompt(self.suggestions, self.queue)
        self.chips = Chips(self.count, self.room)
        self.toolbox = Toolbox(config.tool_servers, engines.log, self.toolbox_changed)
        self.approval = Approval()
        self.calls = CallRunner(self.toolbox, self.approval.ask)
        self.pane: TokenPane | None = None
        self.gauges: tuple[GaugePanel | GaugeStrip, ...] = ()
        self._logs: OrderedDict[tuple[str, int], TokenLog] = OrderedDict()
        self._editing: Turn | None = None

    def toast(self, what: object) -> None:
        """Safe to show: news for a moment; what went wrong whole, and until something else is done."""
        if isinstance(what, BaseException):
            self.problem.show(one_line(causes(what), 2000))
        else:
            self.notify(one_line(what), markup=False)

    def show_title(self) -> None:
        engine = [self.engines.options.target]
        if self.engines.engine is not None:
            info = self.engines.engine.info
            remote = info.device == "remote"
            nothing = "" if remote and not info.speculation_unavailable else "nothing that drafts"
            drafts = draft_of(info) or ", ".join(other_drafters(info)) or nothing
            engine = [f"{info.target} + {drafts}" if drafts else info.target]
            engine.append(info.backend if remote else f"{info.device} {info.dtype}")
        title = one_line(self.chat.title) or "New chat"
        self.heading.show(title=title, engine=[one_line(part) for part in engine])
        self.set_class(len(self.chat.conversation) > 0, "-begun")
        self.app.title = f"{title} · SpecDec"
        self.show_settings()

    def show_settings(self) -> None:
        """What is in force beside the defaults, on the prompt's edge."""
        self.prompt.border_subtitle = Content(one_line(self.chat.settings.in_force(len(self.toolbox.tools))))

    def toolbox_changed(self, news: str | SpecDecError) -> None:
        self.toast(news)
        self.show_settings()

    # --------------------------------------------------------------------------- the engine

    def load_engine(self, options: LoadOptions) -> None:
        self.cancel()
        self.monitor.forget()
        self.engines.load(options)
        self.status.show_state(f"loading {one_line(options.target)}")
        self.transcript.show_engine(None)
        self.show_title()

    async def engine_loaded(self) -> None:
        self.status.show_state("ready")
        self.show_title()
        self.transcript.show_engine(self.engines.engine.info if self.engines.engine else None)
        if self.engines.engine:
            self.offers.make(of_published_draft(self.engines.engine.info))
        await self.monitor.fetch(self.engines.engine)
        self.send_next()

    def watch_engine(self) -> None:
        """Whether the engine is still there, and what it says of itself."""
        if down := self.engines.down:
            self.status.show_state(f"no engine · F8 restarts it, the chat stays · {one_line(down, 80)}", style="$error")
        elif self.running:
            self._fetch()
        elif self.calls.running or self._works("model"):
            return
        elif self.engines.engine:
            self.status.show_state("ready")
        elif failed := self.engines.failed:
            why = one_line(causes(failed), 120)
            self.status.show_state(f"no engine · F8 tries again, F3 models · {why}", style="$error")

    def _fetch(self) -> None:
        self.run_worker(self.monitor.fetch(self.engines.engine), group="stats", exit_on_error=False)

    def refresh_gauge(self, *, beside_frame: bool = False) -> None:
        """Draw what has changed."""
        engine, conversation = self.engines.engine, self.chat.conversation
        now = time.perf_counter()
        state = self.monitor.changed(now, engine, conversation, self.generation, beside_frame=beside_frame)
        if state is None:
            return
        for gauge in self.gauges:
            gauge.show(state)
        if state.info:
            self.status.show_context(state.context_used, known_context(state.info))

    # --------------------------------------------------------------------------- prompts and answers

    @property
    def running(self) -> bool:
        """Whether an answer is under way."""
        return self.generation is not None and self.generation.running

    def cancel(self) -> None:
        """The answer under way is left at once; what came stays."""
        if self.generation:
            self.generation.cancel()
        self.calls.stop()

    def ask(self, text: str) -> None:
        """Sent, or put behind what waits."""
        self.problem.show("")
        if self._editing and (self.busy or self.engines.engine is None):
            self.toast("an edited prompt has to wait; Esc stops the answer that comes")
            self.prompt.put(text + self.prompt.text)
            return
        if self._editing:
            self.submit(text)
            return
        if text.strip():
            self.queue.put(text)
        self.send_next()

    @on(Start.Chosen)
    def _begun(self, event: Start.Chosen) -> None:
        self.prompt.focus()
        self.ask(event.text)

    @property
    def busy(self) -> bool:
        """Whether an answer is under way, from its prompt to its last frame."""
        return self._works("answer")

    def _works(self, group: str) -> bool:
        return any(w.group == group and not w.is_finished for w in self.workers)

    def send_next(self) -> None:
        """The first prompt that waits, if nothing else is to be done before: another model may be on its way."""
        if self.queue.texts and self.engines.engine and not (self.busy or self._works("model")):
            self.submit(self.queue.take(0))

    @on(Worker.StateChanged)
    def _answered(self, event: Worker.StateChanged) -> None:
        """After an answer that came to its end; one that was stopped or failed leaves it to the user to go on."""
        if event.worker.group == "answer" and event.worker.is_finished and not self.app.app_focus:
            self.app.bell()  # nobody is looking
        if event.worker.group == "model" and event.worker.is_finished:
            self.watch_engine()
            self.send_next()  # to the present engine, if no other came of it
        done = self.generation is not None and self.generation.turn.state == "done"
        if event.worker.group == "answer" and event.state is WorkerState.SUCCESS and done:
            self.send_next()

    def count(self, text: str) -> int | None:
        """A text's tokens, if the engine can say so. Blocks."""
        try:
            return len(self.engines.engine.tokenize(text)) if self.engines.engine else None
        except SpecDecError:
            return None

    def room(self) -> int | None:
        """How many tokens the context has left, if that is known."""
        context = known_context(self.engines.engine.info) if self.engines.engine else 0
        return max(0, context - context_used(self.chat.conversation)) if context else None

    def submit(self, text: str) -> None:
        """A prompt after the shown path, or in place of the one that is edited."""
        parent = self._editing.parent if self._editing else self.chat.conversation.head
        self.send(Message("user", text), parent, branch=self._editing is not None)

    @work(exclusive=True, group="answer")
    async def send(self, message: Message, parent: int | None, *, branch: bool = False) -> None:
        """A turn of the user's side, and its answer. `branch`: other turns follow its parent already."""
        if message.role == "user":
            question = message.content or ""
            try:
                message = replace(message, content=await asyncio.to_thread(with_files, question))
            except SpecDecError as error:
                self.toast(error)
                self.prompt.put(question)
                return
        self.edit(None)
        turn = self.chat.add(message, parent)
        self.show_title()
        if not branch:
            await self.transcript.add(self.chat.conversation, [turn])
        await self._answers(turn, branch=branch)

    def retry(self, prompt: Turn) -> None:
        """Another answer to the same turn, beside those there are."""
        if self.running:
            self.toast(InvalidRequest("retry", "now", "no answer under way; Esc stops it"))
            return
        self.chat.conversation.head = prompt.id
        self.run_worker(self._answers(prompt, branch=True), group="answer", exclusive=True)

    def request(self, prompt: int) -> Request:
        """What asks for an answer to this turn. A model that takes no tools is offered none of ours."""
        engine, given = self.engines.engine, self.chat.settings.tools
        ours = self.toolbox.offers if engine and engine.info.tool_format else ()
        return self.chat.request(prompt, tools=(*given, *ours))

    async def _answers(self, prompt: Turn, *, branch: bool) -> None:
        """An answer; while it calls tools of ours, what they return, and the next one."""
        for _ in range(_MOST_CALLING):
            answer = await self._answer(prompt, branch=branch)
            cut = answer is not None and answer.figures.get("finish") == "length"
            if answer is None or cut or not self.calls.can_run(answer.message.tool_calls):
                return
            self.status.show_state("calling tools · Esc stops", style="$primary")
            results, stopped = await self.calls.run(answer.message.tool_calls)
            prompt, branch = answer, False
            for message in results:
                prompt = self.chat.add(message, prompt.id)
                await self.transcript.add(self.chat.conversation, [prompt])
            self.prompt.focus()
            if stopped:
                self.watch_engine()
                return
        self.toast(f"{_MOST_CALLING} answers on end called tools: ask on if that is right")

    async def _answer(self, prompt: Turn, *, branch: bool) -> Turn | None:
        """From first frame to last, in order whatever happens. None if it did not come to its end."""
        engine, chat = self.engines.engine, self.chat
        if branch:
            await self.transcript.show(chat.conversation)
        if engine is None:
            self.toast("there is no engine: F8 tries again, F3 chooses another")
            return None
        self.status.show_state("answering · Esc stops", style="$primary")
        request = self.request(prompt.id)
        generation = Generation(chat.begin_answer(prompt.id), request, shares_cores=shares_cores(engine))
        before, self.generation = self.generation, generation
        self._logs[chat.id, generation.turn.id] = generation.log
        while len(self._logs) > _LOGS:
            self._logs.popitem(last=False)
        await self.transcript.add(chat.conversation, [generation.turn])
        if self.shows_tokens and self.pane:
            self.pane.show(generation.log)
        self.prompt.cursor_blink = not generation.shares_cores  # half of what is drawn while no frame is
        try:
            every = _SHARED_FRAME if generation.shares_cores else FRAME
            await generation.run(engine, every, lambda: self._draw(generation))
        finally:
            self.prompt.cursor_blink = True
            if generation.running:  # the app is leaving
                chat.keep(generation.now("interrupted"))
        if not await self._finish(generation):
            self.generation = before
        if generation.answer.end and not self.engines.options.remote:
            self.monitor.drafted = SpecStats.of_all([self.monitor.drafted, generation.answer.end.stats])
            self.offers.make(of_training(engine.info, self.monitor.drafted))
        self.offers.make(of_context(chat.id, context_used(chat.conversation), known_context(engine.info)))
        self._fetch()  # a short answer is over before anyone looked
        self.watch_engine()
        self.show_title()
        self.refresh_gauge()
        return generation.turn if generation.turn.state == "done" else None

    async def _draw(self, generation: Generation) -> None:
        """One frame of the answer under way."""
        if generation.waiting:
            doing = "answering" if generation.begun else generation.waiting
            self.status.show_state(f"{one_line(doing, 80)} · Esc stops", style="$primary")
        drawn = False
        if self.shows_tokens and self.pane:
            drawn = self.pane.grow(time.perf_counter(), generation.drawing)
        elif isinstance(view := self.transcript.view(generation.turn.id), AnswerView):
            drawn = await view.draw(generation, time.perf_counter())
        if new := generation.unsaved(shown=drawn):
            self.chat.grow(generation.now(), new)
        if drawn:
            self.refresh_gauge(beside_frame=True)

    async def _finish(self, generation: Generation) -> bool:
        """Keep what came, and whether anything did. If not, the prompt goes back to where it can be changed."""
        chat, turn = self.chat, generation.turn
        if self.shows_tokens and self.pane:
            self.pane.rest()
        kept = generation.begun or not (generation.refused or turn.state == "cancelled")
        if kept:
            chat.keep(turn)
            if isinstance(view := self.transcript.view(turn.id), AnswerView):
                await view.finish(turn, chat.conversation.branch(turn.id))
        else:
            prompt = chat.conversation[turn.parent] if turn.parent else None
            chat.take_back(turn)
            if prompt and prompt.message.role == "user" and not chat.conversation.followers(prompt.id):
                chat.take_back(prompt)
                self.prompt.put(asked(prompt.text)[0])
            await self.transcript.show(chat.conversation)
        if generation.error:
            self.toast(generation.error)
        return kept

    def edit(self, turn: Turn | None) -> None:
        """Write an earlier prompt anew; None leaves that."""
        self._editing = turn
        self.prompt.border_title = "editing an earlier prompt: Enter branches, Esc leaves" if turn else ""
        if turn:
            self.prompt.put(asked(turn.text)[0])
            self.prompt.focus()

    @property
    def shows_tokens(self) -> bool:
        return self.has_class("-tokens")

    def show_tokens(self, turn: int | None) -> None:
        """An answer as tokens in the transcript's place; None goes back."""
        self.set_class(turn is not None, "-tokens")
        if turn is not None and self.pane:
            self.pane.show(self.token_log(turn))
            self.pane.tokens.focus()

    def token_log(self, turn: int) -> TokenLog | None:
        """Those of the last answers are kept."""
        return self._logs.get((self.chat.id, turn))
