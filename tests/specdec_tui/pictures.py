"""Draws every screen of the chat at four sizes, over a scripted engine, as SVG files to be looked at.

python -m tests.specdec_tui.pictures FOLDER [NAME ...]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from textual.widgets import ProgressBar, Static

from specdec.errors import LoadError
from specdec.hub import Step, progress
from specdec.types import PublishedDraft
from specdec_tui import commands
from specdec_tui.core.config import Config
from specdec_tui.core.models import ModelOption
from specdec_tui.core.settings import ChatSettings
from specdec_tui.screens.download import DownloadScreen
from specdec_tui.widgets.approval import Approval
from tests.fakes import SCRIPTED_INFO, ScriptedEngine, call
from tests.specdec_tui.running import Driver, running, words

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
ANSWER = (
    "Here is *one* way:\n\n```python\ndef ring(times: int) -> str:\n    return 'ding ' * times\n```\n\n"
    "1. ring it\n2. listen\n\n| who | what |\n|---|---|\n| fox | bell |\n\nThat is **all**. "
    + "The fox went down to the river and listened to the bell for a while. "
    * 4
)


THOUGHT = "<think>The fox is shy. So nobody else should be there.</think>"
MODELS = [
    ModelOption("bundled", "0.04 GB", "bf16 · fast · drafts: the bundled draft model"),
    ModelOption("Qwen/Qwen3-8B", "16.38 GB", "bf16 · fast · drafts: z-lab/Qwen3-8B-DFlash-b16"),
    ModelOption("ollama:llama3.1:8b", "4.92 GB", "Q4_K_M · fast on a GPU, llama.cpp here · drafts: the text so far"),
    ModelOption("/home/fox/models/a-model-with-a-rather-long-name-7B-Instruct-GPTQ-Int4", "4.10 GB", "gptq · fast"),
]


async def _keys(chat: Driver, *keys: str) -> None:
    await chat.ask("How do I ring a bell?")
    await chat.until(lambda: not chat.app.main.busy)
    await chat.pilot.press(*keys)


def _pressed(*keys: str) -> Picture:
    return lambda chat: _keys(chat, *keys)


async def _compare(chat: Driver) -> None:
    await _keys(chat, "f5")
    await chat.until(lambda: "x plain" in chat.text_of("#verdict"))


async def _chats(chat: Driver) -> None:
    for text in ("A fox finds a silver bell in the snow, and nobody else has heard it ring", "Sort a list", "Rain"):
        await chat.enter("/new")
        await chat.ask(text)
    await chat.pilot.press("ctrl+o")


async def _history(chat: Driver) -> None:
    await _chats(chat)
    await chat.pilot.press("escape", "ctrl+r")


async def _download(chat: Driver) -> None:
    chat.app.push_screen(DownloadScreen("Qwen/Qwen3-8B"))
    await chat.pilot.pause()
    chat.app.screen.query_one(ProgressBar).update(progress=5_400_000_000, total=16_380_000_000)
    chat.app.screen.query_one("#how", Static).update(progress(Step(5_400_000_000, 16_380_000_000, 48e6)))


async def _running(chat: Driver) -> None:
    await chat.enter("How do I ring a bell?")
    await chat.enter("And a gong?")
    await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.begun)


async def _call(chat: Driver) -> None:
    await chat.enter("/tools files")
    await chat.enter("What is in the README?")
    await chat.until(lambda: isinstance(chat.app.screen.focused, Approval))


async def _problem(chat: Driver) -> None:
    await chat.ask("How do I ring a bell?")
    chat.app.main.toast(LoadError("Qwen/Qwen3-8B needs 16.4 GB, and 11.2 GB are free; in 4 bits it would take 5.1 GB"))


async def _offer(chat: Driver) -> None:
    await chat.ask("How do I ring a bell?")
    await chat.until(lambda: chat.app.main.offers.offer)


async def _typed(chat: Driver) -> None:
    await chat.ready()
    chat.app.main.prompt.put("What do @README.md and @tests/fakes.py say of foxes?")


async def _commands(chat: Driver) -> None:
    await chat.pilot.press("slash", "s")


async def _nothing(chat: Driver) -> None:
    await chat.until(lambda: chat.text_of("#state") == "ready")


Picture = Callable[[Driver], Awaitable[None]]
PICTURES: dict[str, Picture] = {
    "start": _nothing,
    "answer": _pressed(),
    "running": _running,
    "gauge": _pressed("f6"),
    "tokens": _pressed("ctrl+t", "home", "right"),
    "thought": _pressed(),
    "call": _call,
    "problem": _problem,
    "offer": _offer,
    "files": _typed,
    "compare": _compare,
    "params": _pressed("f2"),
    "models": _pressed("f3"),
    "download": _download,
    "sessions": _chats,
    "history": _history,
    "help": _pressed("f1"),
    "palette": _pressed("ctrl+p"),
    "commands": _commands,
}
HEAD = PublishedDraft("z-lab/Qwen3-8B-DFlash-b16", 2.1, "MIT", "maths and code most, chat less")
ENGINES: dict[str, Callable[[], ScriptedEngine]] = {
    "running": lambda: ScriptedEngine(words(ANSWER), width=4, hold=20),
    "offer": lambda: ScriptedEngine(words(ANSWER), width=4, info=replace(SCRIPTED_INFO, published_draft=HEAD)),
    "thought": lambda: ScriptedEngine([*words(THOUGHT), *words(ANSWER)], width=4),
    "call": lambda: ScriptedEngine(call("read_file", {"path": "README.md"})),
}
"""Where another one is wanted."""


async def _described(_folders: object) -> list[ModelOption]:
    return MODELS


async def draw(folder: Path, name: str, size: tuple[int, int]) -> None:
    """One screen at one size."""
    settings = ChatSettings(system="Be brief.").with_values({"temperature": 0.7})
    engine = ENGINES.get(name, lambda: ScriptedEngine(words(ANSWER), width=4))()
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
    commands.__dict__["described"] = _described
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or PICTURES:
        for size in SIZES:
            asyncio.run(draw(Path(folder), name, size))


if __name__ == "__main__":
    main()
