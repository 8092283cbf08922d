"""What goes wrong around a chat: told in one line, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from textual import events
from textual.geometry import Offset

from specdec.engine import Engine, Progress
from specdec.errors import CheckpointNotFound
from specdec.process import ProcessEngine, child
from specdec.types import LoadOptions
from specdec_tui.app import ChatApp
from specdec_tui.core.config import Config
from specdec_tui.widgets.gauge_strip import GaugeStrip
from specdec_tui.widgets.token_view import TokenView
from specdec_tui.widgets.turn import PromptView
from tests.fakes import ScriptedEngine
from tests.process import factories
from tests.specdec_tui.running import Driver, Garage, running
from tests.specdec_tui.test_words import HOSTILE


def _in_process(options: LoadOptions, progress: Progress) -> Engine:
    return ProcessEngine(factories.held, progress=progress)


async def test_a_click_on_what_has_just_gone_hits_nothing() -> None:
    """As when another chat is opened: its turns are drawn until the next frame."""
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Hello")
        turn = chat.app.screen.query_one(PromptView)
        at, none = turn.region.offset + Offset(3, 0), (False, False, False)
        with chat.app.batch_update():
            await turn.remove()
            press = events.MouseDown(None, at.x, at.y, 0, 0, 1, *none, screen_x=at.x, screen_y=at.y)
            assert chat.app.screen.get_widget_at(*at)[0].parent is None, "it is still drawn there"
            chat.app.screen._forward_event(press)
        await chat.ask("Still there?")


async def test_a_killed_engine_is_shown_and_restarted_without_losing_the_chat() -> None:
    app = ChatApp(Config(), _in_process)
    async with app.run_test(size=(100, 30)) as pilot:
        chat = Driver(app, pilot)
        await chat.ready()
        app.main.chat.configure(app.main.chat.settings.with_text("max_tokens", "200"))
        await chat.enter("Go on")
        await chat.until(lambda: app.main.generation and app.main.generation.gauge.tokens == 4)
        first = app.engines.engine
        assert isinstance(first, ProcessEngine)
        os.kill(first.pid, signal.SIGKILL)
        await chat.until(lambda: chat.answered and chat.toasts)
        assert "killed by SIGKILL" in chat.toasts[0]
        assert chat.texts == ["Go on", "Once upon a time"]
        await chat.until(lambda: "F8 restarts it" in chat.text_of("#state"))
        await pilot.press("f8")
        await chat.until(lambda: app.engines.engine is not None and app.engines.engine is not first)
        app.main.chat.configure(app.main.chat.settings.with_text("max_tokens", "5"))
        await chat.ask("Again")
        assert chat.texts[2:] == ["Again", "Once upon a time,"]


async def test_an_engine_that_dies_idle_is_noticed() -> None:
    app = ChatApp(Config(), _in_process)
    async with app.run_test(size=(100, 30)) as pilot:
        chat = Driver(app, pilot)
        await chat.ready()
        assert isinstance(app.engines.engine, ProcessEngine)
        os.kill(app.engines.engine.pid, signal.SIGKILL)
        await chat.until(lambda: "F8 restarts it, the chat stays · " in chat.text_of("#state"))


async def test_an_engine_that_is_silent_is_told_until_it_speaks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = ChatApp(Config(), _in_process)
    async with app.run_test(size=(100, 30)) as pilot:
        chat = Driver(app, pilot)
        await chat.ready()
        assert isinstance(app.engines.engine, ProcessEngine)
        os.kill(app.engines.engine.pid, signal.SIGSTOP)
        monkeypatch.setattr(child, "_QUIET", 2)
        await chat.until(lambda: "has not answered for " in chat.text_of("#state"))
        os.kill(app.engines.engine.pid, signal.SIGCONT)
        await chat.until(lambda: chat.text_of("#state") == "ready")


async def test_a_missing_checkpoint_is_told_and_the_old_engine_comes_back() -> None:
    old, again = ScriptedEngine(), ScriptedEngine(["again"])
    missing = CheckpointNotFound("no model at 'nowhere': neither a folder\nnor a cached hub id")
    garage = Garage(old, missing, again)
    async with running(garage=garage) as chat:
        await chat.ready()
        await chat.enter("/model nowhere")
        await chat.until(lambda: chat.app.engines.engine is again)
        assert chat.toasts == ["no model at 'nowhere': neither a folder nor a cached hub id"]
        assert [c.target for c in garage.choices] == ["bundled", "nowhere", "bundled"]


async def test_no_engine_at_all_leaves_a_chat_that_can_try_again() -> None:
    garage = Garage(CheckpointNotFound("no model at 'x'"), ScriptedEngine())
    async with running(garage=garage) as chat:
        await chat.until(lambda: "F8 tries again" in chat.text_of("#state"))
        await chat.pilot.press("f8")
        await chat.ready()
        await chat.ask("Hello")


async def test_hostile_answers_and_prompts_are_only_text() -> None:
    async with running(ScriptedEngine([HOSTILE, "[bold]not bold[/bold] [@click=app.quit]x[/]"])) as chat:
        await chat.ready()
        await chat.ask(f"Hello {HOSTILE}")
        await chat.pilot.press("ctrl+t")
        await chat.pilot.pause()
        screen = chat.app.export_screenshot()
        assert "\x1b" not in screen
        assert "\x07" not in screen
        segments = [s.text for y in range(5) for s in chat.app.screen.query_one(TokenView).render_line(y)]
        assert any("␛]0;owned␇" in text for text in segments)
        assert all(ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0 for text in segments for c in text)
        await chat.pilot.press("escape")
        assert "[bold]not bold[/bold]" in "".join(str(w.render()) for w in chat.app.screen.query("MarkdownParagraph"))


async def test_a_paste_of_a_megabyte_stays_out_of_the_way_and_goes_out_whole() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        text = "word " * 200_000
        chat.app.main.prompt.post_message(events.Paste(text))
        await chat.until(lambda: chat.app.main.prompt.text)
        assert chat.app.main.prompt.text == "[pasted text 1: 1,000,000 characters]"
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.answered)
        prompt = engine.requests[0].prompt[-1]
        assert getattr(prompt, "content", None) == text
        assert len(str(chat.app.screen.query_one(PromptView).query_one(".said").render())) < 10_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/compar", "command is '/compar'; expected /compare, or one of /help"),
        ("/set temperature hot", "temperature is 'hot'; expected a number"),
        ("/theme pink", "theme is 'pink'; expected one of dark"),
        ("/preset nothing", "preset is 'nothing'; expected one of default"),
        ("/retry", "prompt is None; expected a prompt, and there is none yet"),
        ("/copy", "copy is ''; expected an answer"),
        ("/tools missing.json", "file is 'missing.json'; expected a file or a folder that is there"),
        ("/schema " + sys.executable, f"file is '{sys.executable}'; expected "),
        ("/save a\0b", "embedded null"),
        ("/save ~no-such-user/x", "~no-such-user/x: No such file or directory"),
        ("/sessions", "sessions is None; expected a database"),
        ("/json perhaps", "json is 'perhaps'; expected on or off"),
    ],
)
async def test_wrong_commands_are_told_in_one_line(line: str, message: str) -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.app.command(line)
        await chat.until(lambda: chat.toasts)
        assert len(chat.toasts) == 1
        assert chat.toasts[0].startswith(message)


async def test_why_speculation_is_off_is_said_loudly() -> None:
    engine = ScriptedEngine(off_reason="off: drafting costs more than it saves: 300 -> 280 tokens/s", width=1)
    async with running(engine, size=(80, 24)) as chat:
        await chat.ready()
        await chat.enter("/set k off")
        await chat.ask("Hello")
        await chat.until(lambda: "Speculation off, because" in chat.text_of("GaugeStrip #note"))
        assert "drafting costs more than it saves" in chat.text_of("GaugeStrip #note")
        assert chat.app.screen.query_one(GaugeStrip).query_one("#note").display


async def test_a_chat_that_cannot_be_saved_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with running(ScriptedEngine(), database=tmp_path / "file" / "sessions.db") as chat:
        await chat.ready()
        await chat.ask("Hello")
        assert "cannot be opened" in chat.toasts[0]
        assert "saved in" in chat.toasts[0]
