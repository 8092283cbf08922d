"""What is typed or read is never lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from textual.screen import Screen
from textual.widgets import Input, OptionList

from specdec.errors import CheckpointNotFound
from specdec_tui.core.commands import for_app
from specdec_tui.core.conversation import Turn
from specdec_tui.core.store import Store
from specdec_tui.early_keys import written
from specdec_tui.screens.history import HistoryScreen
from specdec_tui.screens.models import ModelsScreen
from specdec_tui.screens.params import ParamsScreen
from specdec_tui.screens.sessions import SessionsScreen
from specdec_tui.widgets.queue import Queue
from specdec_tui.widgets.turn import AnswerView
from tests.fakes import SCRIPT, ScriptedEngine
from tests.remote.scripted import Exchange, ScriptedServer
from tests.specdec_tui.running import Garage, running
from tests.specdec_tui.test_url import chat_with
from tests.specdec_tui.window import Window

STORY = "".join(SCRIPT)


@pytest.mark.parametrize(
    ("key", "screen", "field"),
    [("f2", ParamsScreen, "#temperature"), ("f2", ParamsScreen, "#system"), ("f3", ModelsScreen, "Input"),
     ("ctrl+o", SessionsScreen, "Input"), ("ctrl+r", HistoryScreen, "Input")],
)  # fmt: skip
@pytest.mark.parametrize("size", [(120, 40), (60, 20)])
async def test_what_is_typed_into_a_dialog_is_seen(
    key: str,
    screen: type[Screen[object]],
    field: str,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("specdec_tui.commands.described", AsyncMock(return_value=[]))  # its process would outlive this
    async with running(ScriptedEngine(), size=size, database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.pilot.press(key)
        await chat.until(lambda: isinstance(chat.app.screen, screen))
        box = chat.app.screen.query_one(field, Input)
        box.focus()
        await chat.pilot.press(*"0.25")
        await chat.until(lambda: "0.25" in "".join(s.text for s in box.render_line(0)))
        assert box.size.height == 1
        assert "0.25" in chat.app.export_screenshot()


async def test_a_stopped_answer_of_a_server_without_ids_stays() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send({"choices": [{"index": 0, "delta": {"content": "Half of an answer"}}]})
        await exchange.writer.wait_closed()

    server = ScriptedServer("llamacpp")
    server.answers.append(endless)
    async with chat_with(server) as chat:
        await chat.enter("Tell me")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.begun)
        await chat.pilot.press("escape")
        await chat.until(lambda: chat.answered)
        assert chat.texts == ["Tell me", "Half of an answer"]
        await chat.until(lambda: "stopped by you" in chat.text_of("AnswerView .failed"))


async def test_a_chat_is_left_as_its_next_prompt_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waited goes out when the answer before it ends, and that may be while another chat is opened."""
    finishing, go = asyncio.Event(), asyncio.Event()
    finish = AnswerView.finish

    async def slowly(view: AnswerView, turn: Turn, branch: tuple[int, int]) -> None:
        finishing.set()
        await go.wait()
        await finish(view, turn, branch)

    monkeypatch.setattr(AnswerView, "finish", slowly)
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.enter("One")
        await chat.enter("Two")
        await chat.until(finishing.is_set)
        opening = asyncio.create_task(chat.app.main.open(None))
        await chat.pilot.pause()
        go.set()
        await opening
        await chat.ask("Three")
        assert chat.texts[-2] == "Three"


async def test_a_chat_that_is_open_elsewhere_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with running(ScriptedEngine(), database=path) as first:
        await first.ready()
        await first.until(lambda: first.app.store)
        await first.ask("Hello")
        async with running(ScriptedEngine(), database=path, resume="last") as second:
            await second.ready()
            await second.until(lambda: second.texts)
            assert any("open in another window" in said for said in second.toasts)
            assert second.texts == ["Hello", STORY]
            assert second.app.main.chat.id != first.app.main.chat.id
            await second.ask("From the second")
            await first.ask("From the first")
            assert second.app.store
            assert not second.app.store.delete(first.app.main.chat.id), "it is still written"
    store = Store(path)
    saved = [store.load(session.id) for session in store.sessions()]
    store.close()
    asked = {s.session.title: [t.text for t in s.conversation.path()][::2] for s in saved if s}
    assert asked == {"Hello": ["Hello", "From the first"], "Hello (copy)": ["Hello", "From the second"]}


async def test_prompts_before_the_engine_is_there_wait_in_sight_and_in_order() -> None:
    engine = ScriptedEngine()
    garage = Garage(CheckpointNotFound("no model at 'x'"), engine)
    async with running(garage=garage) as chat:
        await chat.until(lambda: "F8 tries again" in chat.text_of("#state"))
        for text in ("One", "Two", "Three"):
            await chat.enter(text)
        await chat.until(lambda: "3 waiting" in chat.text_of(Queue))
        assert all(text in chat.text_of(Queue) for text in ("One", "Two", "Three"))
        await chat.pilot.press("up")
        assert chat.app.main.prompt.text == "Three"
        await chat.enter("Four")
        await chat.pilot.press("f8")
        await chat.until(lambda: chat.texts == ["One", STORY, "Two", STORY, "Four", STORY])
        assert not chat.app.screen.query_one(Queue).display


async def test_what_waits_behind_a_stopped_answer_waits_for_the_user() -> None:
    engine = ScriptedEngine(hold=2)
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("One")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        await chat.enter("Two")
        assert "1 waiting" in chat.text_of(Queue)
        await chat.pilot.press("escape")
        await chat.until(lambda: not chat.app.main.busy)
        assert "1 waiting" in chat.text_of(Queue)
        engine.go_on()
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.texts == ["One", "Once upon a time", "Two", STORY])


async def test_page_keys_before_there_is_a_list_do_nothing() -> None:
    async with running(ScriptedEngine(), size=(30, 6)) as chat:
        await chat.ready()
        for key in ("f3", "f2"):
            await chat.pilot.press(key, "pagedown", "pageup")
            await chat.until(lambda: chat.app.screen is not chat.app.main)
            for lines in chat.app.screen.query(OptionList):
                lines.highlighted = 0
                await lines.run_action("page_down")
            await chat.pilot.press("escape")
        await chat.pilot.press("ctrl+p", "pageup", "pagedown", "f1", "ctrl+p", "escape", "escape")
        await chat.pilot.pause()
        assert chat.app.return_code is None


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [("/set stop a=b", "stop", ("a=b",)), ("/set logit_bias 1=5", "logit_bias", {1: 5.0}), ("/set top_k=4", "top_k", 4),
     ("/set temperature = 0.5", "temperature", 0.5), ("/set stop =", "stop", ("=",))],
)  # fmt: skip
async def test_a_setting_is_taken_as_it_is_written(line: str, name: str, value: object) -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.enter(line)
        await chat.until(lambda: chat.toasts)
        assert chat.app.main.chat.settings.value(name) == value


async def test_what_is_no_command_is_a_question() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("/usr/bin is what?")
        assert chat.texts[0] == "/usr/bin is what?"


@pytest.mark.parametrize(
    ("line", "ours"),
    [("/set k 3", True), ("/se", True), ("/", True), ("/compar", True), ("/usr/bin", False), ("/tmp is full", False),
     ("a /set", False), ("", False)],
)  # fmt: skip
def test_commands_and_questions(line: str, ours: bool) -> None:
    assert for_app(line) is ours


def test_early_keys_are_what_they_write() -> None:
    assert written("Helo\x7flo, w\x1b[Aorld\x1bOP\t!\x1b") == "Hello, world!"
    assert written("one\rtwo") == "one\ntwo"


async def test_what_was_typed_early_is_in_the_prompt() -> None:
    engine = ScriptedEngine()
    async with running(engine, typed="First\nand then") as chat:
        await chat.ready()
        await chat.until(lambda: chat.texts == ["First", STORY])
        assert chat.app.main.prompt.text == "and then"


_CHAT = """
import sys
from specdec_tui.core.config import Config
from specdec_tui import run
from tests.fakes import ScriptedEngine
import specdec_tui.core.engines as engines
engines.EngineOpener = lambda log: (lambda options, progress: ScriptedEngine())
import specdec_tui.app as app
if sys.argv[1] == "crash":
    app.ChatApp.action_help = lambda self: 1 / 0
if sys.argv[1] == "crash of the keys":
    from textual.drivers.linux_driver import LinuxDriver
    read = LinuxDriver.process_message
    LinuxDriver.process_message = lambda self, event: 1 / 0 if getattr(event, "key", "") == "f1" else read(self, event)
sys.exit(run.run(Config(), database=None)[1])
"""


@pytest.fixture
def window(request: pytest.FixtureRequest) -> Iterator[Window]:
    window = Window(_CHAT, request.param, COLUMNS="80", LINES="24")
    yield window
    window.close()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
@pytest.mark.parametrize("window", ["plain"], indirect=True)
def test_who_ends_the_process_gets_the_terminal_back(window: Window) -> None:
    window.write(b"typed early")
    window.until(b"typed early")
    window.until(b"ready")
    window.write("café".encode("latin-1") + b"s")
    window.until("caf\N{REPLACEMENT CHARACTER}s".encode())
    window.process.send_signal(signal.SIGTERM)
    assert window.end() == 128 + signal.SIGTERM
    for mode in (b"?1049", b"?1000", b"?2004"):
        assert window.shown.rfind(mode + b"l") > window.shown.rfind(mode + b"h"), mode


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
def test_a_terminal_that_is_closed_ends_the_chat() -> None:
    import pty

    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-c", _CHAT, "plain"], {**os.environ, "TERM": "xterm-256color"})
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 65536)
    os.close(terminal)
    deadline = time.monotonic() + 30
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(ended[1]) == 128 + signal.SIGHUP


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
@pytest.mark.parametrize("window", ["crash", "crash of the keys"], indirect=True)
def test_a_crash_is_no_success(window: Window) -> None:
    window.until(b"ready")
    window.write(b"\x1bOP")
    assert window.end() == 1
