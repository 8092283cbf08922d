"""What opens over the chat."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.style import Style
from textual import events
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static

from specdec_tui.core.store import Store
from specdec_tui.screens.compare import CompareScreen
from specdec_tui.screens.history import HistoryScreen
from specdec_tui.screens.models import ModelsScreen
from specdec_tui.screens.params import ParamsScreen
from specdec_tui.screens.sessions import SessionsScreen
from specdec_tui.splash import EXAMPLES
from specdec_tui.widgets.prompt import Prompt
from specdec_tui.widgets.start import Examples, Start
from specdec_tui.widgets.token_pane import detail
from specdec_tui.widgets.token_view import TokenView
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine
from tests.specdec_tui.running import Garage, running
from tests.specdec_tui.test_chatting import Beside

STORY = "".join(SCRIPT)


async def test_sessions_are_searched_opened_renamed_and_deleted(tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.ask("About foxes")
        await chat.enter("/new")
        await chat.until(lambda: not chat.texts)
        await chat.ask("About rain")
        await chat.enter("/sessions foxes")
        await chat.until(lambda: isinstance(chat.app.screen, SessionsScreen))
        screen = chat.app.screen
        await chat.until(lambda: screen.query_one(OptionList).option_count == 1)
        await chat.pilot.press("f2")
        screen.query_one(Input).value = "Foxes"
        await chat.pilot.press("enter")
        await chat.until(lambda: "Foxes" in str(screen.query_one(OptionList).get_option_at_index(0).prompt))
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.texts == ["About foxes", STORY])
        assert "Foxes" in chat.text_of("#title")
        await chat.enter("/sessions rain")
        await chat.until(lambda: isinstance(chat.app.screen, SessionsScreen))
        await chat.pilot.press("f8")
        assert len(chat.app.store.sessions()) == 2 if chat.app.store else False
        await chat.pilot.press("f8")
        await chat.until(lambda: chat.app.store and len(chat.app.store.sessions()) == 1)


async def test_fields_have_one_line_of_texts_with_more(tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.enter("/system one\ntwo")
        await chat.enter("/rename fox\nbell")
        assert chat.app.main.chat.title == "fox bell"
        await chat.pilot.press("f2")
        assert chat.app.screen.query_one("#system", Input).value == r"one\ntwo"
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.app.screen is chat.app.main)
        assert chat.app.main.chat.settings.system == "one\ntwo"
        chat.app.main.prompt.put("one\ntwo")
        await chat.pilot.press("ctrl+r")
        assert chat.app.screen.query_one(Input).value == "one two"


async def test_a_chat_opens_without_the_parameters_that_cannot_be_read(tmp_path: Path) -> None:
    """As another version may have written them."""
    path = tmp_path / "sessions.db"
    async with running(ScriptedEngine(), database=path) as chat:
        await chat.until(lambda: chat.app.store)
        await chat.ask("Hello")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE session SET sampling = ?", ('{"heat": 1}',))
    async with running(ScriptedEngine(), database=path, resume="last") as chat:
        await chat.until(lambda: chat.texts == ["Hello", STORY])
        assert any("heat" in said for said in chat.toasts)


async def test_a_chat_is_resumed_with_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with running(ScriptedEngine(), database=path) as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.enter("/system Be brief.")
        await chat.enter("/set temperature 0.25")
        await chat.enter("/set logit_bias 1=5")
        await chat.ask("Hello")
    engine = ScriptedEngine()
    async with running(engine, database=path, resume="last") as chat:
        await chat.ready()
        await chat.until(lambda: chat.texts == ["Hello", STORY])
        await chat.ask("And now?")
        assert (chat.app.main.chat.settings.system, chat.app.main.chat.settings.sampling.temperature) == (
            "Be brief.",
            0.25,
        )
    assert engine.requests[0].sampling.temperature == 0.25
    assert engine.requests[0].sampling.logit_bias == {1: 5.0}
    assert [getattr(m, "role", None) for m in engine.requests[0].prompt] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


async def test_an_answer_under_way_when_the_chat_ends_is_there_next_time(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    engine = ScriptedEngine(hold=2)
    async with running(engine, database=path) as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.enter("Hello")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
    async with running(ScriptedEngine(), database=path, resume="last") as chat:
        await chat.until(lambda: chat.texts == ["Hello", "Once upon a time"])
        assert chat.app.main.chat.conversation.path()[-1].state == "interrupted"
        assert "the chat ended while this came" in chat.text_of("AnswerView .failed")


@pytest.mark.parametrize("engine", [ScriptedEngine(hold=2), Beside(hold=2)])
async def test_what_was_read_outlives_a_sudden_end(engine: ScriptedEngine, tmp_path: Path) -> None:
    """A copy of the file, taken while an answer comes, is what a sudden end would leave."""
    path = tmp_path / "sessions.db"

    def left() -> list[str]:
        copy = tmp_path / "copy.db"
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with closing(Store(copy)) as store:
            saved = store.load(store.sessions()[0].id)
        return [f"{t.text} ({t.state})" for t in saved.conversation.path()] if saved else []

    async with running(engine, database=path) as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.enter("Hello")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        await chat.until(lambda: left() == ["Hello (done)", "Once upon a time (interrupted)"])
        with closing(sqlite3.connect(path)) as reading:
            (message,) = reading.execute("SELECT message FROM turn WHERE state = 'running'").fetchone()
            (pieces,) = reading.execute("SELECT count(*) FROM growth").fetchone()
        assert json.loads(message)["content"] == "", "the whole was written again"
        assert pieces <= 2, "something was written though nothing new had come"


async def test_parameters_are_checked_as_they_are_written() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.pilot.press("f2")
        await chat.until(lambda: isinstance(chat.app.screen, ParamsScreen))
        screen = chat.app.screen
        await chat.pilot.press(*"hot")
        await chat.until(lambda: "temperature is 'hot'" in str(screen.query_one("#problem", Static).render()))
        await chat.pilot.press("enter")
        assert isinstance(chat.app.screen, ParamsScreen)
        screen.query_one("#temperature", Input).value = "0.5"
        screen.query_one("#speculative", Input).value = "3"
        screen.query_one("#system", Input).value = "Be kind."
        await chat.pilot.press("enter")
        await chat.until(lambda: not isinstance(chat.app.screen, ParamsScreen))
        settings = chat.app.main.chat.settings
        assert (settings.sampling.temperature, settings.speculative, settings.system) == (0.5, 3, "Be kind.")


async def test_a_target_and_a_draft_are_picked() -> None:
    garage = Garage(ScriptedEngine(), ScriptedEngine())
    async with running(garage=garage) as chat:
        await chat.ready()
        await chat.pilot.press("f3")
        await chat.until(lambda: isinstance(chat.app.screen, ModelsScreen))
        await chat.pilot.press("tab", "down", "enter")
        await chat.until(lambda: len(garage.choices) == 2)
        assert (garage.choices[1].target, garage.choices[1].draft) == ("bundled", "none")
        await chat.ready()
        await chat.pilot.press("f3")
        await chat.until(lambda: isinstance(chat.app.screen, ModelsScreen))
        chat.app.screen.query_one(Input).focus()
        await chat.pilot.press(*"a/b + c", "enter")
        await chat.until(lambda: len(garage.choices) == 3)
        assert (garage.choices[2].target, garage.choices[2].draft) == ("a/b", "c")


async def test_prompts_of_all_chats_are_found_again(tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.ask("Tell of the fox")
        await chat.ask("Tell of 100% owls")
        (tmp_path / "fox.md").write_text("red")
        await chat.ask(question := f"Tell of @{tmp_path}/fox.md")
        await chat.ask("Tell of the fox")
        await chat.pilot.press("ctrl+n")
        await chat.until(lambda: not len(chat.app.main.chat.conversation))
        await chat.pilot.press("ctrl+r")
        await chat.until(lambda: isinstance(chat.app.screen, HistoryScreen))
        options = chat.app.screen.query_one(OptionList)
        await chat.until(lambda: options.option_count == 3)
        assert str(options.get_option_at_index(1).prompt) == question, "without what the file holds"
        await chat.pilot.press(*"tell 100%")
        await chat.until(lambda: options.option_count == 1)
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.app.main.prompt.text == "Tell of 100% owls")


async def test_an_example_is_asked_by_its_line() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.until(lambda: "16 million parameters" in chat.text_of("Start #who"))
        await chat.pilot.press("tab")
        assert isinstance(chat.app.focused, Examples)
        await chat.pilot.press("down", "enter")
        await chat.until(lambda: chat.answered)
        assert chat.texts[0] == EXAMPLES[1]
        assert not chat.app.screen.query(Start)


async def test_the_start_says_how_to_see_what_speculation_brings_where_it_can_be_seen() -> None:
    drafters = ("model", "lookup", "memory")
    for told in (True, False):
        async with running(
            ScriptedEngine(info=replace(SCRIPTED_INFO, drafters=drafters, speculation_optional=told))
        ) as chat:
            await chat.pilot.resize_terminal(60, 20)
            await chat.ready()
            await chat.until(lambda: "16 million parameters" in chat.text_of("Start #who"))
            assert ("F5 shows what speculation brings." in chat.text_of("Start #who")) == told
            seen = chat.app.main.transcript.region
            assert seen.contains_region(chat.app.screen.query_one(Examples).region), "nothing has to be scrolled to"


@pytest.mark.parametrize("key", ["f1", "f2", "f3", "f5", "ctrl+o", "ctrl+p", "ctrl+r"])
async def test_keys_that_come_twice_close_what_is_open_and_nothing_more(key: str, tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.ask("Hello")
        for close in ("escape", "enter"):
            await chat.until(lambda: not chat.app.main.busy and chat.app.engines.engine)
            await chat.pilot.press(key)
            await chat.until(lambda: chat.app.screen is not chat.app.main)
            chat.at_once(close, close, close)
            await chat.pilot.pause()
            assert chat.app._exception is None
            while chat.app.screen is not chat.app.main:
                await chat.pilot.press("escape")


@pytest.mark.parametrize("name", ["sessions", "history", "params", "model", "compare"])
async def test_what_is_sent_twice_at_once_opens_one_dialog(name: str, tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.until(lambda: not chat.app.main.busy)
        for _ in range(2):
            chat.app.main.prompt.post_message(Prompt.Submitted(f"/{name}"))
        await chat.until(lambda: chat.app.screen is not chat.app.main)
        await chat.pilot.pause()
        assert len(chat.app.screen_stack) == 2


async def test_a_key_that_comes_before_its_dialog_does_nothing(tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.ask("[/b] is no [markup")
        for key in ("ctrl+o", "ctrl+r", "f2", "f3", "f5"):
            chat.at_once(key, "down", "f8", "pagedown", "escape", "escape")
            await chat.pilot.pause()
            while chat.app.screen is not chat.app.main:
                await chat.pilot.press("escape")
        await chat.enter("/new")
        await chat.ask("Another")
        await chat.pilot.press("ctrl+o", "down", "f8")
        assert "[/b] is no" in str(chat.app.screen.query_one(Vertical).border_subtitle)
        await chat.pilot.press("escape")
        await chat.enter("/set stop [/b]")
        await chat.until(lambda: "stop [/b]" in str(chat.app.main.prompt.border_subtitle).replace("\\", ""))


@pytest.mark.parametrize("key", ["ctrl+p", "ctrl+r"])
async def test_a_click_on_a_line_that_goes_at_that_moment_hits_nothing(key: str, tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.pilot.press(key)
        options = chat.app.screen.query_one(OptionList)
        await chat.until(lambda: options.option_count)
        style = Style(meta={"option": options.option_count})
        options.post_message(events.Click(options, 1, 1, 0, 0, 1, False, False, False, style=style))
        await chat.pilot.press("escape")
        await chat.ask("Still there?")


async def test_what_is_open_over_a_dialog_goes_with_it(tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.pilot.press("ctrl+r", "f1", "ctrl+p")
        history, help_, palette = (screen for screen in chat.app.screen_stack if screen is not chat.app.main)
        for screen in (history, history, palette, help_):
            screen.dismiss(None)
            assert chat.app.screen is chat.app.main
        chat.at_once("ctrl+p", "escape", "ctrl+p", "x", "escape", "ctrl+r", "ctrl+p")
        await chat.pilot.pause()
        while chat.app.screen is not chat.app.main:
            await chat.pilot.press("escape")
        await chat.ask("Hello")


async def test_what_a_dialog_does_ends_as_it_closes() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("Hello")
        engine.hold = 2
        await chat.compare()
        await chat.until(lambda: isinstance(chat.app.screen, CompareScreen))
        dialog = chat.app.screen
        await chat.until(lambda: [w for w in chat.app.workers if w.node is dialog])
        asking = [w for w in chat.app.workers if w.node is dialog]
        dialog.dismiss(None)
        assert all(w.is_cancelled for w in asking)
        await chat.until(lambda: engine.stats().active == 0)


async def test_what_is_in_force_is_seen_at_the_prompt() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        for line in ("/set temperature 0.7", "/system Be brief.", "/json on"):
            await chat.enter(line)
        seen = "system prompt · json object · temperature 0.7"
        await chat.until(lambda: chat.app.main.prompt.border_subtitle == seen)


async def test_compare_measures_and_judges() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.compare()
        await chat.until(lambda: isinstance(chat.app.screen, CompareScreen))
        await chat.until(lambda: "identical" in chat.text_of("#verdict"))
        assert chat.text_of("#verdict").startswith("2.60x plain   identical")
        await chat.pilot.press("escape")
        await chat.until(lambda: "measured" in chat.app.main.chat.conversation.path()[-1].figures)
        assert chat.app.main.chat.conversation.path()[-1].figures["measured"] == pytest.approx(2.6)
        await chat.until(lambda: " 2.60x" in chat.text_of("GaugePanel #body"))
    plain, speculative = [r for r in engine.requests if r.id in ("plain", "speculative")]
    assert plain.sampling.seed == speculative.sampling.seed
    assert (plain.speculative, speculative.speculative) == ("off", "auto")


async def test_compare_tells_where_texts_part_and_slowness_in_red() -> None:
    engine = ScriptedEngine(width=1, speculative_script=["Once", " more"])
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.compare()
        await chat.until(lambda: isinstance(chat.app.screen, CompareScreen))
        await chat.until(lambda: "they part at token 2" in chat.text_of("#verdict"))


async def test_tokens_tell_about_themselves() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.pilot.press("ctrl+t")
        view = chat.app.screen.query_one(TokenView)
        await chat.until(lambda: view.has_focus)
        await chat.pilot.press("home", "right")
        await chat.until(lambda: "accepted" in chat.text_of("#detail"))
        assert chat.text_of("#detail").replace("\n", " ") == (
            "“ upon” id 11 · accepted · round 1: model drafted 2, 2 accepted · draft 1.0 ms, verify 2.0 ms"
        )
        for width in (60, 80, 120):  # a figure has its unit on the same line
            await chat.pilot.resize_terminal(width, 40)
            lines = chat.text_of("#detail").splitlines()
            room = chat.app.screen.query_one("#detail").content_size.width
            assert all(len(line) <= room and not line.startswith("ms") for line in lines)
            assert len(lines) <= 2
        await chat.pilot.press("end")
        await chat.until(lambda: "“.”" in chat.text_of("#detail"))
        await chat.pilot.hover(TokenView, offset=(3, 1))
        await chat.until(lambda: "“Once” id 10 · plain · from prefill" in chat.text_of("#detail"))
        await chat.pilot.press("ctrl+t")
        assert not chat.app.main.shows_tokens


def test_a_token_s_probability_is_told_where_it_is_known() -> None:
    from specdec_tui.core.tokenlog import TokenLog
    from tests.specdec_tui.events import event, token

    log = TokenLog()
    log.add(event([token("a", logprob=-0.6931)]))
    assert " p 0.500 " in detail(log.entries[0])


async def test_completion_by_tab_and_enter() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.pilot.press(*"/them", "tab")
        await chat.until(lambda: chat.app.main.prompt.text == "/theme ")
        await chat.pilot.press(*"light", "down", "tab")
        await chat.until(lambda: chat.app.main.prompt.text == "/theme light-safe")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.app.theme == "light-safe")


async def test_a_gauge_that_has_no_room_says_so() -> None:
    async with running(ScriptedEngine(), size=(60, 18)) as chat:
        await chat.ready()
        await chat.pilot.press("f6")
        await chat.until(lambda: any("there is no room for it" in said for said in chat.toasts))
        await chat.pilot.resize_terminal(60, 24)
        await chat.pilot.press("f6", "f6")
        assert sum("there is no room for it" in said for said in chat.toasts) == 1


async def test_every_command_is_in_the_palette() -> None:
    from textual.command import CommandPalette

    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.pilot.press("ctrl+p")
        await chat.until(lambda: isinstance(chat.app.screen, CommandPalette))
        await chat.pilot.press(*"/gauge")
        await chat.until(lambda: chat.app.screen.query_one(OptionList).option_count)
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.app.main.gauge_level == "full")
