"""What the slash commands do. One method a command, `do_<name>`, as in Python's cmd module."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from specdec.engine import Engine
from specdec.errors import InvalidRequest, SpecDecError
from specdec.types import Grammar, LoadOptions, Message
from specdec_tui.core.chat import continued
from specdec_tui.core.commands import presets
from specdec_tui.core.config import THEME_NAMES, Config, GaugeLevel
from specdec_tui.core.conversation import Turn, title_of
from specdec_tui.core.export import export
from specdec_tui.core.files import expanded, read
from specdec_tui.core.models import ModelOption, described, models, served
from specdec_tui.core.monitor import context_used, known_context
from specdec_tui.core.offers import has_room
from specdec_tui.core.safe import one_line
from specdec_tui.core.settings import ChatSettings
from specdec_tui.screens.chat import ChatScreen
from specdec_tui.screens.dialog import open_once


class SlashCommands:
    """Raises InvalidRequest, OSError or a SpecDecError, which the app shows in one line."""

    def __init__(self, screen: ChatScreen) -> None:
        self.screen = screen

    async def run(self, name: str, argument: str) -> None:
        handler: Callable[[str], Awaitable[object] | None] = getattr(self, f"do_{name}")
        done = handler(argument)
        if done is not None:
            await done

    # --------------------------------------------------------------------------- the screen

    def do_help(self, _argument: str) -> Awaitable[bool]:
        return self.screen.app.run_action("help")

    def do_quit(self, _argument: str) -> None:
        self.screen.app.exit()

    def do_gauge(self, _argument: str) -> None:
        following: dict[GaugeLevel, GaugeLevel] = {"calm": "full", "full": "off", "off": "calm"}
        level = following[self.screen.gauge_level]
        self.screen.show_gauge(level)
        if level != "off" and not (self.screen.has_class("-wide") or self.screen.has_class("-high")):
            self.screen.toast(f"gauge: {level}; there is no room for it below 20 rows, unless there are 110 columns")

    def do_tokens(self, _argument: str) -> None:
        shown = self.screen.shows_tokens
        answer = self.screen.chat.conversation.last("assistant")
        self.screen.show_tokens(None if shown else (answer.id if answer else -1))
        if shown:
            self.screen.prompt.focus()

    def do_rejected(self, _argument: str) -> None:
        if self.screen.pane:
            self.screen.pane.tokens.action_rejected()

    def do_theme(self, name: str) -> None:
        if name not in THEME_NAMES:
            raise InvalidRequest("theme", name, "one of " + ", ".join(THEME_NAMES))
        self.screen.app.theme = name

    # --------------------------------------------------------------------------- chats

    async def do_new(self, _argument: str) -> None:
        await self.screen.open(None)

    def do_sessions(self, words: str) -> None:
        from specdec_tui.screens.sessions import SessionsScreen

        chat, store = self.screen.chat, self.screen.chat.store
        if store is None:
            raise InvalidRequest("sessions", None, "a database, which this chat has none of")

        async def open_session(session: str | None) -> None:
            if saved := store.load(session) if session else None:
                await self.screen.open(saved)

        open_once(self.screen.app, SessionsScreen(store, chat.id, words), open_session)

    def do_history(self, words: str) -> None:
        from specdec_tui.screens.history import HistoryScreen

        store, prompt = self.screen.chat.store, self.screen.prompt
        if store is None:
            raise InvalidRequest("history", None, "a database, which this chat has none of")

        def put(text: str | None) -> None:
            if text is not None:
                prompt.put(text)
                prompt.focus()

        open_once(self.screen.app, HistoryScreen(store.prompts, words or prompt.text), put)

    async def do_trim(self, _argument: str) -> None:
        """What is left out stays in the chat that is left."""
        self._idle()
        path = self.screen.chat.conversation.path()
        prompts = [i for i, turn in enumerate(path) if turn.message.role == "user"]
        if len(prompts) < 2:
            raise InvalidRequest("trim", f"{len(prompts)} prompts", "a chat with two prompts or more")
        await self.screen.show_chat(continued(self.screen.chat, path[prompts[len(prompts) // 2] :]))

    def do_summary(self, _argument: str) -> None:
        context = known_context(self._idle().info)
        if not has_room(used := context_used(self.screen.chat.conversation), context):
            raise InvalidRequest("summary", f"{used:,} of {context:,} tokens", "room for it; /trim makes some")
        if not self.screen.chat.conversation.path():
            raise InvalidRequest("summary", None, "a chat, and there is nothing in it yet")
        self.screen.summarise()

    def do_rename(self, title: str) -> None:
        if not title:
            raise InvalidRequest("title", title, "a name for this chat")
        self.screen.chat.rename(one_line(title))
        self.screen.show_title()

    def do_save(self, name: str) -> None:
        chat = self.screen.chat
        slug = "".join(c if c.isalnum() else "-" for c in title_of(chat.title, 40)).strip("-").lower()
        path = expanded(name or f"{slug or 'chat'}.md")
        export(path, chat.title, chat.settings.system, chat.conversation.path())
        self.screen.toast(f"saved as {path.resolve()}")

    # --------------------------------------------------------------------------- settings

    def do_set(self, argument: str) -> None:
        named = argument.partition(" ")[0]
        name, _, value = argument.partition("=" if "=" in named else " ")
        value = value.strip().removeprefix("= ")
        self._configure(self._settings.with_text(name, value), f"{name}: {value or 'default'}")

    def do_params(self, _argument: str) -> None:
        from specdec_tui.screens.params import ParamsScreen

        def apply(changed: ChatSettings | None) -> None:
            if changed:
                self.screen.chat.configure(changed)
                self.screen.show_settings()

        screen = ParamsScreen(self._settings, presets(self.screen.config, self.screen.chat.store))
        open_once(self.screen.app, screen, apply)

    def do_preset(self, argument: str) -> None:
        store = self.screen.chat.store
        verb, _, name = argument.partition(" ")
        if verb == "save" and name and store:
            store.save_preset(name, self._settings.changed())
            self.screen.toast(f"preset {name} saved")
            return
        known = presets(self.screen.config, store)
        if argument not in known:
            raise InvalidRequest("preset", argument, "one of " + ", ".join(known))
        self._configure(self._settings.preset(known[argument]), f"preset {argument}")

    def do_system(self, text: str) -> None:
        self._configure(
            replace(self._settings, system=text or None), "system prompt set" if text else "no system prompt"
        )

    def do_json(self, switch: str) -> None:
        if switch not in ("on", "off"):
            raise InvalidRequest("json", switch, "on or off")
        grammar = Grammar.json_object() if switch == "on" else None
        self._configure(self._settings.with_grammar(grammar), f"JSON answers {switch}")

    def do_schema(self, name: str) -> None:
        grammar = None if name == "off" else Grammar.json_schema(_read(name))
        self._configure(self._settings.with_grammar(grammar), "answers follow the schema" if grammar else "no schema")

    def do_tools(self, name: str) -> None:
        toolbox, changed = self.screen.toolbox, self._settings
        if not name:
            self.screen.run_worker(toolbox.connect(), group="tools", exit_on_error=False)
        if name in ("files", "off"):
            toolbox.read_folder(Path.cwd() if name == "files" else None)
        if name and name != "files":
            changed = changed.with_tools("[]" if name == "off" else _read(name))
        ours = f": {', '.join(toolbox.tools)}" if toolbox.tools else ""
        waiting = f" · still waiting for {', '.join(sorted(toolbox.waiting))}" if toolbox.waiting else ""
        self._configure(changed, f"{len(toolbox.tools) + len(changed.tools)} tools offered{ours}{waiting}")

    def do_think(self, level: str) -> None:
        self._configure(self._settings.with_text("reasoning", level or "on"), f"thinking: {level or 'on'}")

    def do_result(self, text: str) -> None:
        last = self.screen.chat.conversation.last("assistant")
        if last is None or not last.message.tool_calls or not text:
            raise InvalidRequest("result", text, "what the last answer's call returned")
        call = last.message.tool_calls[-1]
        self.screen.send(Message("tool", text, name=call.name, tool_call_id=call.id), last.id)

    # --------------------------------------------------------------------------- the engine

    def do_model(self, name: str) -> None:
        config = self.screen.config
        if name:
            server = config.servers.get(name)
            self._load(server.url if server else name, "auto", server.api_key if server else None)
            return
        from specdec_tui.screens.models import Choice, ModelsScreen

        def load(chosen: Choice | None) -> None:
            if chosen:
                target, draft = chosen
                self._load(target.name, draft, target.api_key)

        screen = ModelsScreen(self.screen.engines.options, models(config.folders), partial(_described, config))
        open_once(self.screen.app, screen, load)

    def do_draft(self, name: str) -> None:
        if name:
            self._load_checked(replace(self.screen.engines.options, draft=name))
        else:
            self.do_model("")

    def do_restart(self, _argument: str) -> None:
        self.screen.load_engine(self.screen.engines.options)

    def do_train(self, _argument: str) -> None:
        target = self.screen.engines.options.target
        if self.screen.engines.options.remote:
            raise InvalidRequest("train", target, "a model on this machine")
        out = f"{Path(target).name}-head"
        self.screen.app.copy_to_clipboard(command := shlex.join(["specdec", "train", target, "--out", out]))
        self.screen.toast(f"{command} · run it when this chat has left the memory; then /draft {out}")

    def do_compare(self, _argument: str) -> None:
        from specdec_tui.screens.compare import CompareScreen

        engine, prompt = self._idle(), self._last_prompt
        if not engine.info.speculation_optional:
            expected = "one that can be told to answer without speculation, for /compare"
            raise InvalidRequest("server", engine.info.backend, expected)

        def keep(speed_up: float | None) -> None:
            answer = self.screen.chat.conversation.last("assistant")
            if speed_up and answer and answer.parent == prompt.id:
                self.screen.chat.keep(replace(answer, figures={**answer.figures, "measured": round(speed_up, 3)}))

        open_once(self.screen.app, CompareScreen(engine, self.screen.request(prompt.id)), keep)

    # --------------------------------------------------------------------------- turns

    def do_retry(self, _argument: str) -> None:
        self.screen.retry(self._last_prompt)

    def do_edit(self, _argument: str) -> None:
        self.screen.edit(self._last_prompt)

    def do_copy(self, what: str) -> None:
        answer = self.screen.chat.conversation.last("assistant")
        if answer is None:
            raise InvalidRequest("copy", what, "an answer, and there is none yet")
        self.screen.copy(answer, code=what == "code")

    def _idle(self) -> Engine:
        engine = self.screen.engines.engine
        if engine is None or self.screen.busy:
            state = "not ready" if engine is None else "answering"
            raise InvalidRequest("engine", state, "one that is ready and has nothing else to do")
        return engine

    @property
    def _last_prompt(self) -> Turn:
        prompt = self.screen.chat.conversation.last("user")
        if prompt is None:
            raise InvalidRequest("prompt", None, "a prompt, and there is none yet")
        return prompt

    @property
    def _settings(self) -> ChatSettings:
        return self.screen.chat.settings

    def _configure(self, changed: ChatSettings, note: str) -> None:
        self.screen.chat.configure(changed)
        self.screen.show_settings()
        self.screen.toast(note)

    def _load(self, target: str, draft: str, api_key: str | None = None) -> None:
        """Another target; a server's key is no other's."""
        self._load_checked(replace(self.screen.engines.options, target=target, draft=draft, api_key=api_key))

    def _load_checked(self, options: LoadOptions) -> None:
        """The hub may take seconds to answer, in which keys go on."""
        self.screen.run_worker(self._look_and_load(options), group="model", exclusive=True)

    async def _look_and_load(self, options: LoadOptions) -> None:
        """What does not exist is refused, and what is not here fetched, while the present engine still runs."""
        self.screen.status.show_state("looking for the model")
        try:
            await asyncio.to_thread(self.screen.engines.check, options)
            missing = await asyncio.to_thread(self.screen.engines.missing, options)
        except (SpecDecError, OSError, ValueError) as error:
            self.screen.toast(error)
        else:
            self._fetch(missing, options)

    def _fetch(self, names: list[str], options: LoadOptions) -> None:
        """One after another, and then the engine."""
        if not names:
            self.screen.load_engine(options)
            return
        from specdec_tui.screens.download import DownloadScreen

        def fetched(here: bool | None) -> None:
            if here:
                self._fetch(names[1:], options)
            else:
                self.screen.watch_engine()

        open_once(self.screen.app, DownloadScreen(names[0]), fetched)


async def _described(config: Config) -> AsyncGenerator[list[ModelOption]]:
    """What is here, with its details, and then what servers have."""
    found = await described(config.folders) or models(config.folders)
    yield found
    for name, server in config.servers.items():
        if more := await asyncio.to_thread(served, name, server):
            found = [*found, *more]
            yield found


def _read(name: str) -> str:
    if not name:
        raise InvalidRequest("file", name, "a file's name")
    return read(expanded(name))
