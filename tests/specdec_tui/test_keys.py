"""The chat behaves as a terminal does."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from specdec.errors import EngineFailed, InvalidRequest, LoadError
from specdec_tui.app import ChatApp
from specdec_tui.core.clipboard import copy
from specdec_tui.core.config import Config, read_config
from specdec_tui.core.engines import EngineOpener, causes
from specdec_tui.key_parser import KeyParser
from specdec_tui.screens.compare import CompareScreen
from specdec_tui.splash import EXAMPLES
from specdec_tui.widgets.transcript import Transcript
from specdec_tui.widgets.turn import AnswerView, TurnView
from tests.fakes import SCRIPT, ScriptedEngine
from tests.specdec_tui.running import Garage, running

MISSING = "file is 'missing.json'; expected a file or a folder that is there"


async def test_interrupt_stops_then_clears_then_leaves() -> None:
    async with running(ScriptedEngine(hold=2)) as chat:
        await chat.ready()
        await chat.enter("Go on")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        chat.app.main.prompt.put("half a thought")
        await chat.pilot.press("ctrl+c")
        await chat.until(lambda: not chat.app.main.busy)
        assert chat.app.main.chat.conversation.path()[-1].state == "cancelled"
        assert chat.app.main.prompt.text == "half a thought"
        await chat.pilot.press("ctrl+c")
        assert chat.app.main.prompt.text == ""
        await chat.pilot.press("up")
        assert chat.app.main.prompt.text == "half a thought", "it is among the earlier ones"
        await chat.pilot.press("ctrl+c", "ctrl+c")
        assert chat.app.return_code is None
        assert "Ctrl+C again leaves" in chat.toasts
        await chat.pilot.press("ctrl+c")
        await chat.until(lambda: chat.app.return_code == 0)


async def test_the_end_of_input_leaves_on_an_empty_line_alone() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        chat.app.main.prompt.text = "ab"
        await chat.pilot.press("ctrl+d")
        assert chat.app.main.prompt.text == "b"
        assert chat.app.return_code is None
        chat.app.main.prompt.text = ""
        await chat.pilot.press("ctrl+d")
        await chat.until(lambda: chat.app.return_code == 0)


async def test_typing_reaches_the_prompt() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Go")  # an empty conversation takes no focus
        chat.app.screen.query_one(Transcript).focus()
        await chat.pilot.press(*"hello")
        assert chat.app.main.prompt.text == "hello"
        assert chat.app.main.prompt.has_focus
        await chat.pilot.click(Transcript)
        assert not chat.app.main.prompt.has_focus
        chat.app.post_message(events.Paste(" fox"))
        await chat.until(lambda: chat.app.main.prompt.text == "hello fox")
        await chat.pilot.click(Transcript)
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.texts[2:3] == ["hello fox"])
        chat.app.main.prompt.put("/set max_tokens 5")
        await chat.pilot.click(Transcript)
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.app.main.chat.settings.sampling.max_tokens == 5)


async def test_keys_that_come_at_once_go_where_those_before_lead(tmp_path: Path) -> None:
    """Also to what has no focus yet."""
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        chat.at_once("tab", "enter", *"abc")
        await chat.until(lambda: chat.answered)
        assert chat.texts[0] == EXAMPLES[0]
        assert chat.app.main.prompt.text == "abc"
        chat.at_once("ctrl+o", *"shy", "f1", "escape", *" fox")
        await chat.until(lambda: chat.app.screen.query("Input") and chat.app.screen.query_one(Input).value == "shy fox")
        chat.at_once("escape", *"de", "enter", *"f")
        await chat.until(lambda: chat.answered == 2)
        assert (chat.texts[2], chat.app.main.prompt.text) == ("abcde", "f")


async def test_page_keys_scroll_the_conversation() -> None:
    async with running(ScriptedEngine([f"line {i}\n\n" for i in range(60)]), size=(80, 24)) as chat:
        await chat.ready()
        await chat.ask("Go")
        transcript = chat.app.screen.query_one(Transcript)
        await chat.until(lambda: transcript.scroll_offset.y == transcript.max_scroll_y > 0)
        end = transcript.scroll_offset.y
        await chat.pilot.press("pageup")
        await chat.until(lambda: transcript.scroll_offset.y < end)
        assert chat.app.main.prompt.has_focus
        await chat.pilot.press("pagedown")
        await chat.until(lambda: transcript.scroll_offset.y == end)


async def test_the_last_line_has_the_keys_of_what_has_the_focus() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Go")
        await chat.until(lambda: chat.text_of("#keys") == "F1 keys · Enter sends · / commands")
        chat.app.screen.query_one(AnswerView).focus()
        await chat.until(lambda: chat.text_of("#keys") == f"F1 keys · {TurnView.KEYS}")


async def test_what_went_wrong_stays_whole_until_something_else_is_done() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.enter("/schema missing.json")
        await chat.until(lambda: chat.text_of("#problem") == MISSING)
        assert not chat.app._notifications
        await chat.ask("Hello")
        assert not chat.app.screen.query_one("#problem").display
        assert chat.texts[-1] == "".join(SCRIPT)


def test_errors_speak_of_keys_not_of_calls() -> None:
    died = EngineFailed("the engine's process was killed; restart() brings it back")
    assert causes(died) == "the engine's process was killed; F8 brings it back"
    assert causes(FileExistsError(17, "File exists", "x")) == "x: File exists"


async def test_commands_on_a_turn_are_its_own_keys() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Go")
        chat.app.screen.query_one(AnswerView).focus()
        await chat.pilot.press("e")
        await chat.until(lambda: chat.app.main.prompt.text == "Go")


async def test_other_keys_come_from_the_config_file() -> None:
    async with running(ScriptedEngine(), config=Config(keys={"compare": "f9"})) as chat:
        await chat.ready()
        await chat.ask("Go")
        await chat.pilot.press("f5")
        assert chat.app.screen is chat.app.main
        await chat.pilot.press("f9")
        await chat.until(lambda: isinstance(chat.app.screen, CompareScreen))
    with pytest.raises(InvalidRequest, match="keys is 'fly'; expected one of leave, interrupt, tokens"):
        ChatApp(Config(keys={"fly": "f9"}), Garage(ScriptedEngine()))


def test_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "chat.toml"
    file.write_text('[keys]\ncompare = "f9"\n')
    assert read_config(file).keys == {"compare": "f9"}


async def test_a_prompt_goes_through_an_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "editor.py"
    script.write_text("import sys\nfile = open(sys.argv[1], 'a')\nfile.write(' and more\\n')\n")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        monkeypatch.setattr(chat.app, "suspend", nullcontext)
        chat.app.main.prompt.put("something")
        await chat.pilot.press("ctrl+g")
        await chat.until(lambda: chat.app.main.prompt.text == "something and more")
        monkeypatch.setenv("VISUAL", str(tmp_path / "none"))
        await chat.pilot.press("ctrl+g")
        await chat.until(lambda: "No such file or directory" in chat.text_of("#problem"))
        assert chat.app.main.prompt.text == "something and more"


async def test_a_model_that_does_not_exist_leaves_the_engine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec_tui.core.engines.known", lambda name: name == "here/model")
    engine = ScriptedEngine()

    class Checking(Garage):
        check = EngineOpener(Path(os.devnull)).check

    async with running(garage=Checking(engine, ScriptedEngine(["Other"]))) as chat:
        await chat.ready()
        await chat.enter("/model nowhere/model")
        await chat.until(lambda: "no model 'nowhere/model'" in chat.text_of("#problem"))
        assert chat.app.engines.engine is engine
        assert not engine.closed
        await chat.enter("/model here/model")
        await chat.until(lambda: engine.closed)


async def test_without_an_engine_a_model_that_does_not_exist_leaves_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec_tui.core.engines.known", lambda _: False)

    class Checking(Garage):
        check = EngineOpener(Path(os.devnull)).check

    async with running(garage=Checking(LoadError("no room"))) as chat:
        await chat.until(lambda: "no engine" in chat.text_of("#state"))
        await chat.enter("/model nowhere/model")
        await chat.until(lambda: "no model 'nowhere/model'" in chat.text_of("#problem"))
        await chat.until(lambda: chat.text_of("#state").startswith("no engine · F8 tries again"))
        assert "no room" in chat.text_of("#state")


async def test_who_looks_elsewhere_hears_that_the_answer_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[bool] = []
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        monkeypatch.setattr(chat.app, "bell", lambda: rung.append(True))
        await chat.ask("Seen")
        engine.hold = 2
        await chat.enter("Unseen")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        assert not rung
        chat.app.app_focus = False
        engine.go_on()
        await chat.until(lambda: rung)


async def test_what_is_copied_is_sent_and_nothing_more_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    monkeypatch.setenv("SSH_CONNECTION", "from afar")
    async with running(ScriptedEngine(["Hi"])) as chat:
        await chat.ready()
        monkeypatch.setattr(chat.app, "say", said.append)
        await chat.ask("Go")
        assert said == ["\x1b]0;Go · SpecDec\x07"]
        await chat.pilot.press("f4")
        await chat.until(lambda: chat.toasts)
        assert chat.toasts == ["2 characters sent to the terminal's clipboard; not every terminal takes them"]
        assert said[1:] == ["\x1b]52;c;SGk=\x07\x1bPtmux;\x1b\x1b]52;c;SGk=\x07\x1b\\"]


def test_a_copy_says_where_it_went(tmp_path: Path) -> None:
    said: list[str] = []
    assert copy("Hi", {}, said.append).startswith("2 characters sent to the terminal's")
    assert said == ["\x1b]52;c;SGk=\x07"]
    long = copy("x" * 100_000, {}, said.append)
    assert Path(long.split(" are in ")[1]).read_text() == "x" * 100_000
    assert len(said) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="each system has programs of its own")
def test_a_copy_on_this_machine_reaches_its_clipboard(tmp_path: Path) -> None:
    program = tmp_path / "xclip"
    program.write_text(f"#!/bin/sh\n/bin/cat > {tmp_path}/clipboard\n")
    program.chmod(0o755)
    here = {"DISPLAY": ":0", "PATH": str(tmp_path)}
    assert copy("é", here, print) == "1 characters copied"
    assert (tmp_path / "clipboard").read_text() == "é"
    assert "terminal's" in copy("x", here | {"SSH_CONNECTION": "from afar"}, lambda _: None)
    program.write_text("#!/bin/sh\nexit 1\n")
    assert "terminal's" in copy("x", here, lambda _: None)


async def test_many_lines_are_taken_back_and_come_again() -> None:
    async with running(ScriptedEngine(), size=(60, 18)) as chat:
        await chat.ready()
        prompt = chat.app.main.prompt
        prompt.insert("line\n" * 30)
        await chat.until(lambda: prompt.show_vertical_scrollbar)
        await chat.pilot.press("ctrl+z")
        assert prompt.text == ""
        await chat.pilot.press("ctrl+y")
        assert (prompt.text, prompt.cursor_location) == ("line\n" * 30, (30, 0))


TYPED = {
    "\x1bso.": "escape s o full_stop",
    "\x1b/new": "escape slash n e w",
    "\x1béA": "escape é A",
    "\x1b\r": "alt+enter",
    "\x1bc": "alt+c",
    "a\x1b\x1bb": "a escape ctrl+left",
    "\x1b[A\x1bf": "up ctrl+right",
    "\x1b[97;3u": "alt+a",
    "\x1b]11;x": "right_square_bracket 1 1 semicolon x",
}


@pytest.mark.parametrize("typed", TYPED)
def test_escape_and_letters_in_one_piece(typed: str) -> None:
    """As over a slow line: most terminals write Alt and a letter so, too."""
    parser = KeyParser({"alt+enter", "alt+c"})
    pressed = [event.key for event in (*parser.feed(typed), *parser.feed("")) if isinstance(event, events.Key)]
    assert " ".join(pressed) == TYPED[typed]
