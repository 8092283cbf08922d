"""Keys, mouse, text and sizes at random: the chat may refuse, but never ends.

SPECDEC_ACTIONS=2000 pytest -m slow tests/specdec_tui/test_random.py      takes some ten minutes a seed
"""

from __future__ import annotations

import os
import random
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from textual import events
from textual.pilot import OutOfBounds

from specdec_tui.app import ChatApp
from specdec_tui.core.commands import COMMANDS
from specdec_tui.core.config import Config
from tests.fakes import ScriptedEngine, call
from tests.specdec_tui.running import Driver, Garage, running, words

ACTIONS = int(os.environ.get("SPECDEC_ACTIONS", "200"))
"""For each of ten seeds."""
KEYS = (
    *("enter", "escape", "tab", "shift+tab", "up", "down", "left", "right", "pageup", "pagedown", "home", "end"),
    *("backspace", "delete", "space", "slash", "at", "left_square_bracket", "right_square_bracket", "ctrl+j"),
    *(f"f{i}" for i in range(1, 10)),
    *("ctrl+t", "ctrl+r", "ctrl+n", "ctrl+o", "ctrl+p", "ctrl+g", "ctrl+up", "ctrl+a", "ctrl+k", "ctrl+z"),
    *"abcdenrstvxy",
)
TEXTS = (
    "Tell me a story.",
    "@tests @README.md what?",
    "[bold]not markup[/] \x1b[2J",
    "several\nlines\n",
    "é漢字🦊 " * 30,
    "/usr/bin is what?",
    "/set temperature 0.5",
    "/set heat 1",
    "/tools files",
    "/tools off",
    "/think off",
    "/json on",
    "/json off",
    *(f"/{c.name} {word}" for c in COMMANDS if c.name not in ("quit", "save") for word in ("", "nothing such")),
)
SCRIPT = [*words("A **table**:\n\n|a|b|\n|-|-|\n|1|2|\n\n```python\nx = 1\n```\n"), *call("list_files", {"path": "."})]


async def _act(chat: Driver, dice: random.Random) -> None:
    match dice.randrange(11):
        case 0:
            await chat.pilot.resize_terminal(dice.randrange(8, 220), dice.randrange(4, 70))
        case 1 | 2:
            chat.app.main.prompt.put(dice.choice(TEXTS))
            await chat.pilot.press("enter")
        case 3:
            width, height = chat.app.size
            with suppress(OutOfBounds):  # the size has just changed
                await chat.pilot.click(offset=(dice.randrange(width), dice.randrange(height)))
        case 4:
            chat.app.post_message(events.Paste(dice.choice(TEXTS) * dice.randrange(1, 200)))
        case 5:
            chat.at_once(*dice.choices(KEYS, k=dice.randrange(2, 6)))
        case _:
            await chat.pilot.press(*dice.choices(KEYS, k=dice.randrange(1, 5)))


@pytest.mark.slow
@pytest.mark.timeout(600 + 2 * ACTIONS)
@pytest.mark.parametrize("seed", range(10))
async def test_nothing_ends_the_chat(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ChatApp, "exit", lambda *_, **__: None)  # who chooses to leave may
    dice = random.Random(seed)
    config = Config(read_folder=True)
    engines = Garage(*(ScriptedEngine(SCRIPT) for _ in range(ACTIONS)))  # each load closes the one before
    async with running(garage=engines, config=config, database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        for _ in range(ACTIONS):
            try:
                await _act(chat, dice)
            except Exception:
                traceback.print_exc()  # keys that wait for an app that ends hide it
                raise
            assert chat.app._exception is None
        await chat.pilot.resize_terminal(120, 40)
        main = chat.app.main
        while chat.app.screen is not main or main.busy or main.queue.texts:
            await chat.pilot.press("escape")
            main.queue.texts.clear()
        for line in ("/new", "/json off", "/tools off"):
            await chat.enter(line)
        await chat.ask("Still there?")
        assert chat.texts[-2] == "Still there?"
