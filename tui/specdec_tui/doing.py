"""What the slash commands and the keys on a turn do. One method a command, `do_<name>`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdec.errors import InvalidRequest
from specdec.types import Grammar, Message
from specdec_tui.core import settings
from specdec_tui.core.code import code_blocks
from specdec_tui.core.config import THEME_NAMES
from specdec_tui.core.conversation import Turn, title_of
from specdec_tui.core.export import export
from specdec_tui.core.models import models
from specdec_tui.core.safe import safe
from specdec_tui.core.settings import Settings, Values

if TYPE_CHECKING:
    from specdec_tui.app import ChatApp


class Doing:
    """Raises InvalidRequest, OSError or a SpecDecError, which the app tells in one line."""

    def __init__(self, app: ChatApp) -> None:
        self.app = app

    async def do(self, name: str, argument: str) -> None:
        handler: Callable[[str], Awaitable[None] | None] = getattr(self, f"do_{name}")
        done = handler(argument)
        if done is not None:
            await done

    def choices(self, kind: str) -> Iterable[str]:
        """What a command's argument is completed from."""
        listed: dict[str, Callable[[], Iterable[str]]] = {
            "setting": lambda: settings.NAMES,
            "preset": lambda: [*self._presets(), "save "],
            "model": lambda: [m.name for m in models(self.app.config.folders)],
            "draft": lambda: ["auto", "none", "lookup", *(m.name for m in models(self.app.config.folders))],
            "theme": lambda: THEME_NAMES,
            "switch": lambda: ("on", "off"),
            "copy": lambda: ("code",),
        }
        return listed[kind]()

    # --------------------------------------------------------------------------- the screen

    def do_help(self, _argument: str) -> None:
        self.app.action_help()

    def do_quit(self, _argument: str) -> None:
        self.app.exit()

    def do_gauge(self, _argument: str) -> None:
        self.app.main.toggle_class("-gauge")

    def do_tokens(self, _argument: str) -> None:
        shown = self.app.shows_tokens
        answer = self.app.chat.conversation.last("assistant")
        self.app.show_tokens(None if shown else (answer.id if answer else -1))
        if shown:
            self.app.prompt.focus()

    def do_rejected(self, _argument: str) -> None:
        if self.app.pane:
            self.app.pane.tokens.action_rejected()

    def do_theme(self, name: str) -> None:
        if name not in THEME_NAMES:
            raise InvalidRequest("theme", name, "one of " + ", ".join(THEME_NAMES))
        self.app.theme = name

    # --------------------------------------------------------------------------- chats

    async def do_new(self, _argument: str) -> None:
        await self.app.open(None)

    def do_sessions(self, words: str) -> None:
        from specdec_tui.screens.sessions import SessionsScreen

        if self.app.store is None:
            raise InvalidRequest("sessions", None, "a database, which this chat has none of")
        self.app.push_screen(SessionsScreen(self.app.store, self.app.chat.id, words), self._chosen_session)

    async def _chosen_session(self, session: str | None) -> None:
        saved = self.app.store.load(session) if self.app.store and session else None
        if saved:
            await self.app.open(saved)

    def do_rename(self, title: str) -> None:
        if not title:
            raise InvalidRequest("title", title, "a name for this chat")
        self.app.chat.rename(title)
        self.app.title_changed()

    def do_save(self, name: str) -> None:
        chat = self.app.chat
        slug = "".join(c if c.isalnum() else "-" for c in title_of(chat.title, 40)).strip("-").lower()
        path = Path(name or f"{slug or 'chat'}.md").expanduser()
        export(path, chat.title, chat.settings.system, chat.conversation.path())
        self.app.tell(f"saved as {path.resolve()}")

    # --------------------------------------------------------------------------- what is asked

    def do_set(self, argument: str) -> None:
        name, _, value = argument.replace("=", " ", 1).partition(" ")
        self._configure(self.app.chat.settings.with_text(name, value))
        self.app.tell(f"{name}: {value.strip() or 'default'}")

    def do_params(self, _argument: str) -> None:
        from specdec_tui.screens.params import ParamsScreen

        def apply(changed: Settings | None) -> None:
            if changed:
                self._configure(changed)

        self.app.push_screen(ParamsScreen(self.app.chat.settings, self._presets()), apply)

    def do_preset(self, argument: str) -> None:
        verb, _, name = argument.partition(" ")
        if verb == "save" and name and self.app.store:
            self.app.store.save_preset(name, self.app.chat.settings.changed())
            self.app.tell(f"preset {name} saved")
            return
        known = self._presets()
        if argument not in known:
            raise InvalidRequest("preset", argument, "one of " + ", ".join(known))
        self._configure(self.app.chat.settings.preset(known[argument]))
        self.app.tell(f"preset {argument}")

    def do_system(self, text: str) -> None:
        self._configure(replace(self.app.chat.settings, system=text or None))
        self.app.tell("system prompt set" if text else "no system prompt")

    def do_json(self, switch: str) -> None:
        if switch not in ("on", "off"):
            raise InvalidRequest("json", switch, "on or off")
        self._configure(self.app.chat.settings.with_grammar(Grammar.json_object() if switch == "on" else None))
        self.app.tell(f"JSON answers {switch}")

    def do_schema(self, name: str) -> None:
        grammar = None if name == "off" else Grammar.json_schema(_read(name))
        self._configure(self.app.chat.settings.with_grammar(grammar))
        self.app.tell("answers follow the schema" if grammar else "no schema")

    def do_tools(self, name: str) -> None:
        tools = () if name == "off" else _tools(_read(name))
        self._configure(replace(self.app.chat.settings, tools=tools))
        self.app.tell(f"{len(tools)} tools offered")

    def do_result(self, text: str) -> None:
        last = self.app.chat.conversation.last("assistant")
        if last is None or not last.message.tool_calls or not text:
            raise InvalidRequest("result", text, "what the last answer's call returned")
        call = last.message.tool_calls[-1]
        self.app.say(Message("tool", text, name=call.name, tool_call_id=call.id), last.id)

    # --------------------------------------------------------------------------- the engine

    def do_model(self, name: str) -> None:
        if name:
            self._load(target=name, draft="auto", url=name if name.startswith("http") else None)
            return
        from specdec_tui.screens.models import ModelsScreen

        choice = self.app.desk.choice
        self.app.push_screen(ModelsScreen(choice, models(self.app.config.folders)), self._chosen_model)

    def _chosen_model(self, chosen: tuple[str, str] | None) -> None:
        if chosen:
            self._load(target=chosen[0], draft=chosen[1], url=None)

    def do_draft(self, name: str) -> None:
        if not name:
            self.do_model("")
            return
        self._load(draft=name)

    def do_restart(self, _argument: str) -> None:
        self.app.load(self.app.desk.choice)

    def do_compare(self, _argument: str) -> None:
        from specdec_tui.screens.compare import CompareScreen

        engine, prompt = self.app.desk.engine, self._last_prompt()
        if engine is None or self.app.answering.running:
            raise InvalidRequest("compare", "now", "an engine that is ready and has nothing else to do")
        self.app.push_screen(CompareScreen(engine, self.app.chat.request(prompt.id)), self._compared)

    def _compared(self, speed_up: float | None) -> None:
        if speed_up:
            self.app.dials.measured = speed_up

    # --------------------------------------------------------------------------- turns

    def do_retry(self, _argument: str) -> None:
        self._retry(self._last_prompt())

    def do_edit(self, _argument: str) -> None:
        self.app.edit(self._last_prompt())

    def do_copy(self, what: str) -> None:
        answer = self.app.chat.conversation.last("assistant")
        if answer is None:
            raise InvalidRequest("copy", what, "an answer, and there is none yet")
        self._copy(answer, code=what == "code")

    async def on_turn(self, what: str, turn: Turn) -> None:
        """A key on this very turn."""
        asked: dict[str, Callable[[], Any]] = {
            "copy": lambda: self._copy(turn, code=False),
            "code": lambda: self._copy(turn, code=True),
            "retry": lambda: self._retry(self._prompt_of(turn)),
            "edit": lambda: self.app.edit(self._prompt_of(turn)),
            "tokens": lambda: self.app.show_tokens(turn.id),
        }
        if what in asked:
            asked[what]()
        else:
            await self._branch(turn, -1 if what == "before" else 1)

    async def _branch(self, turn: Turn, step: int) -> None:
        chat = self.app.chat
        beside = chat.conversation.beside(turn.id, step)
        if beside != turn.id and not self.app.answering.running:
            chat.show(beside)
            await self.app.transcript.show(chat.conversation)
            if view := self.app.transcript.view(beside):
                view.focus()

    def _retry(self, prompt: Turn) -> None:
        if self.app.answering.running:
            raise InvalidRequest("retry", "now", "no answer under way; Esc stops it")
        self.app.retry(prompt)

    def _copy(self, turn: Turn, *, code: bool) -> None:
        blocks = code_blocks(turn.text)
        if code and not blocks:
            self.app.tell("no code block there")
            return
        text = safe(blocks[-1] if code else turn.text)
        self.app.copy_to_clipboard(text)
        self.app.tell(f"copied {len(text):,} characters")

    def _prompt_of(self, turn: Turn) -> Turn:
        """The turn itself, or what an answer answers."""
        conversation = self.app.chat.conversation
        return conversation[turn.parent] if turn.is_answer and turn.parent else turn

    def _last_prompt(self) -> Turn:
        prompt = self.app.chat.conversation.last("user")
        if prompt is None:
            raise InvalidRequest("prompt", None, "a prompt, and there is none yet")
        return prompt

    def _configure(self, changed: Settings) -> None:
        self.app.chat.configure(changed)

    def _load(self, **changes: Any) -> None:
        self.app.load(replace(self.app.desk.choice, **changes))

    def _presets(self) -> dict[str, Values]:
        """Built in, from the config file, and saved; the later ones win."""
        saved = self.app.store.presets() if self.app.store else {}
        return {**self.app.config.presets, **saved}


def _read(name: str) -> str:
    if not name:
        raise InvalidRequest("file", name, "a file's name")
    return Path(name).expanduser().read_text("utf-8")


def _tools(text: str) -> tuple[dict[str, Any], ...]:
    try:
        tools = json.loads(text)
    except ValueError as error:
        raise InvalidRequest("tools", text, f"a JSON list of tools ({error})") from None
    if not isinstance(tools, list) or not all(isinstance(t, dict) for t in tools):
        raise InvalidRequest("tools", text, "a JSON list of tools in OpenAI's form")
    return tuple(tools)
