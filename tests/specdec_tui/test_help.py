"""Help names the keys that do something, and no others."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import walk_packages

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.widgets import Markdown

import specdec_tui
from specdec_tui.app import ChatApp
from specdec_tui.screens.chat import ChatScreen
from specdec_tui.screens.help import HelpScreen
from specdec_tui.screens.sessions import SessionsScreen
from specdec_tui.widgets.transcript import Transcript
from specdec_tui.widgets.turn import AnswerView, TurnView
from tests.fakes import ScriptedEngine
from tests.specdec_tui.running import Driver, running

HANDLED = {"tab", "shift+tab", "enter", "esc", "up", "down"}
"""Keys that Textual binds, or that a widget takes before any binding."""
KEY = re.compile(r"`((?:ctrl\+|shift\+|alt\+)*(?:[a-z]|f\d+|tab|enter|esc|up|down|home|end|pgup|pgdn))`", re.IGNORECASE)


def _helpful() -> list[type[DOMNode]]:
    """All classes that say what they are."""
    modules = [import_module(m.name) for m in walk_packages(specdec_tui.__path__, "specdec_tui.")]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, DOMNode) and "HELP" in vars(value)
    }
    return sorted((c for c in found if c.__module__.startswith("specdec_tui.")), key=lambda c: c.__name__)


def _bound(kind: type[DOMNode]) -> set[str]:
    keys = [(b if isinstance(b, Binding) else Binding(*b)).key for b in kind.BINDINGS]
    return {key.strip() for several in keys for key in several.split(",")}


@pytest.mark.parametrize("kind", _helpful(), ids=lambda kind: kind.__name__)
def test_texts_name_only_keys_that_do_something(kind: type[DOMNode]) -> None:
    named = {key.lower() for key in KEY.findall(kind.HELP or "")}
    assert named <= HANDLED | _bound(kind) | _bound(ChatScreen) | _bound(ChatApp)


def test_the_texts_are_found() -> None:
    assert {TurnView, Transcript, SessionsScreen} <= set(_helpful())


async def _help(chat: Driver) -> str:
    await chat.pilot.press("f1")
    await chat.until(lambda: isinstance(chat.app.screen, HelpScreen))
    return chat.app.screen.query_one(Markdown).source


async def test_help_is_about_what_has_the_focus() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Hello")
        for focus, title, keys in (
            (chat.app.main.prompt, "# Prompt", ["| `Ctrl+J`, `Shift+Enter`, `Alt+Enter` | New line |"]),
            (chat.app.screen.query_one(Transcript), "# Conversation", ["| `PgDn` | Page Down |"]),
            (
                chat.app.screen.query_one(AnswerView),
                "# A turn",
                ["| `c` | Copy |", "| `[` | Branch before |"],
            ),
        ):
            focus.focus()
            source = await _help(chat)
            assert source.startswith(title)
            assert set(source.splitlines()) >= {*keys, "| `Ctrl+T` | Tokens |", "| `F1` | Help |"}
            assert "`/compare`" in source
            await chat.pilot.press("f1")
            await chat.until(lambda: not isinstance(chat.app.screen, HelpScreen))


async def test_help_on_a_screen_that_is_open() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.pilot.press("f2")
        source = await _help(chat)
        assert source.startswith("# Parameters")
        assert "| `Esc` | Close |" in source
