"""Draws every screen of the chat at four sizes, over a scripted engine, as SVG files to be looked at.

python -m tests.specdec_tui.pictures FOLDER [NAME ...]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from specdec_tui.core.config import Config
from specdec_tui.core.settings import ChatSettings
from tests.fakes import ScriptedEngine
from tests.specdec_tui.running import Driver, running, words

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
ANSWER = (
    "Here is *one* way:\n\n```python\ndef ring(times: int) -> str:\n    return 'ding ' * times\n```\n\n"
    "1. ring it\n2. listen\n\n| who | what |\n|---|---|\n| fox | bell |\n\nThat is **all**. "
    + "The fox went down to the river and listened to the bell for a while. "
    * 4
)


async def _keys(chat: Driver, *keys: str) -> None:
    await chat.ask("How do I ring a bell?")
    await chat.pilot.press(*keys)


async def _asked(chat: Driver) -> None:
    await _keys(chat)


async def _full(chat: Driver) -> None:
    await _keys(chat, "f6")


async def _tokens(chat: Driver) -> None:
    await _keys(chat, "ctrl+t", "home", "right")


async def _compare(chat: Driver) -> None:
    await _keys(chat, "f5")
    await chat.until(lambda: "x plain" in chat.text_of("#verdict"))


async def _screen(chat: Driver, keys: str) -> None:
    await _keys(chat, *keys.split())


def _pressed(*keys: str) -> Callable[[Driver], Awaitable[None]]:
    return lambda chat: _keys(chat, *keys)


async def _commands(chat: Driver) -> None:
    await chat.pilot.press("slash", "s")


async def _nothing(chat: Driver) -> None:
    await chat.until(lambda: chat.text_of("#state") == "ready")


PICTURES: dict[str, Callable[[Driver], Awaitable[None]]] = {
    "start": _nothing,
    "answer": _asked,
    "gauge": _full,
    "tokens": _tokens,
    "compare": _compare,
    "params": _pressed("f2"),
    "models": _pressed("f3"),
    "sessions": _pressed("ctrl+o"),
    "help": _pressed("f1"),
    "palette": _pressed("ctrl+p"),
    "commands": _commands,
}


async def draw(folder: Path, name: str, size: tuple[int, int]) -> None:
    """One screen at one size."""
    settings = ChatSettings(system="Be brief.").with_values({"temperature": 0.7})
    engine = ScriptedEngine(words(ANSWER), width=4)
    with tempfile.TemporaryDirectory() as data:
        database = Path(data, "sessions.db")
        async with running(engine, size=size, config=Config(settings=settings), database=database) as chat:
            await chat.ready()
            await PICTURES[name](chat)
            await chat.pilot.pause(0.5)
            path = folder / f"{name}-{size[0]}x{size[1]}.svg"
            path.write_text(chat.app.export_screenshot(title="specdec chat"), "utf-8")


def main() -> None:
    folder, *names = sys.argv[1:]
    os.environ.pop("NO_COLOR", None)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or PICTURES:
        for size in SIZES:
            asyncio.run(draw(Path(folder), name, size))


if __name__ == "__main__":
    main()
