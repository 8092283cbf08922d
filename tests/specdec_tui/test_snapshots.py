"""How the chat looks, cell by cell: text and styles of whole screens, kept in snapshots/ and compared exactly.

    SPECDEC_SNAPSHOTS=write pytest tests/specdec_tui/test_snapshots.py     after a change that is meant

writes them anew; look at the difference before you commit it. A snapshot is text: the screen's lines, and below them
each stretch of a style, so that a difference can be read.
"""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import pytest
from rich.segment import Segment

from specdec_tui.core.config import Config, ScreenConfig
from specdec_tui.screens.compare import CompareScreen
from tests.fakes import ScriptedEngine
from tests.specdec_tui.running import Driver, running, words

SNAPSHOTS = Path(__file__).parent / "snapshots"
ANSWER = (
    "Here is *one* way:\n\n```python\ndef ring(times: int) -> str:\n    return 'ding ' * times\n```\n\n"
    "1. ring it\n2. listen\n\n| who | what |\n|---|---|\n| fox | bell |\n\nThat is **all**."
)
LOOKS = [
    ((80, 24), "dark"),
    ((80, 24), "light"),
    ((120, 40), "dark"),
    ((120, 40), "light"),
    ((120, 40), "dark-safe"),
]


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0][0]}x{look[0][1]}-{look[1]}")
def look(request: pytest.FixtureRequest) -> tuple[tuple[int, int], str]:
    return request.param  # type: ignore[no-any-return]


async def test_answer(look: tuple[tuple[int, int], str]) -> None:
    size, theme = look
    async with _asked(size, theme) as chat:
        await _matches(chat, f"answer-{size[0]}x{size[1]}-{theme}")


async def test_start() -> None:
    async with running(ScriptedEngine(), size=(80, 24)) as chat:
        chat.app.main.prompt.cursor_blink = False
        await chat.ready()
        await chat.until(lambda: chat.text_of("#state") == "ready")
        await _matches(chat, "start-80x24-dark")


async def test_tokens(look: tuple[tuple[int, int], str]) -> None:
    size, theme = look
    async with _asked(size, theme) as chat:
        await chat.pilot.press("ctrl+t", "home", "right")
        await chat.until(lambda: "accepted" in chat.text_of("#detail"))
        await _matches(chat, f"tokens-{size[0]}x{size[1]}-{theme}")


async def test_compare() -> None:
    async with _asked((120, 40), "dark") as chat:
        await chat.compare()
        await chat.until(lambda: isinstance(chat.app.screen, CompareScreen))
        await chat.until(lambda: "identical" in chat.text_of("#verdict"))
        await _matches(chat, "compare-120x40-dark")


async def test_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What colours say is said by styles too."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with _asked((80, 24), "dark") as chat:
        await chat.pilot.press("ctrl+t")
        await chat.until(lambda: chat.text_of("#detail"))
        await _matches(chat, "tokens-80x24-nocolour")


class _asked:  # noqa: N801  (a context manager, read as a word)
    """A chat with one answer, at rest: nothing blinks, no curve depends on the clock."""

    def __init__(self, size: tuple[int, int], theme: str) -> None:
        engine = ScriptedEngine(words(ANSWER), width=4)
        self._running = running(engine, size=size, config=Config(screen=ScreenConfig(theme=theme)))

    async def __aenter__(self) -> Driver:
        chat = await self._running.__aenter__()
        chat.app.main.prompt.cursor_blink = False
        chat.app.main.refresh_gauge = lambda **_: None  # type: ignore[method-assign]
        await chat.ready()
        await chat.ask("How do I ring a bell?")
        await chat.until(lambda: chat.text_of("#state") == "ready")
        live = chat.app.main.generation
        assert live
        live.gauge._rates.clear()
        del chat.app.main.refresh_gauge
        chat.app.main.refresh_gauge()
        return chat

    async def __aexit__(self, *error: object) -> None:
        await self._running.__aexit__(*error)  # type: ignore[arg-type]


async def _matches(chat: Driver, name: str) -> None:
    """The screen is the snapshot's, as soon as it is at rest."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("SPECDEC_SNAPSHOTS") == "write":
        await _rest(chat)
        path.parent.mkdir(exist_ok=True)
        path.write_text(_drawn(chat), "utf-8")
        return
    expected = path.read_text("utf-8")
    try:
        await chat.until(lambda: _drawn(chat) == expected)
    except AssertionError:
        assert _drawn(chat) == expected  # shows where they differ


async def _rest(chat: Driver) -> None:
    last = ""
    while (now := _drawn(chat)) != last:
        last = now
        for _ in range(20):
            await chat.pilot.pause(0.02)


def _drawn(chat: Driver) -> str:
    """Lines of text, then the styles of each line."""
    strips = chat.app.screen._compositor.render_strips()
    text = ["".join(s.text for s in strip).rstrip() for strip in strips]
    styles = [" ".join(_stretches(strip)) for strip in strips]
    return "\n".join([*text, "-" * 20, *styles]) + "\n"


def _stretches(strip: object) -> list[str]:
    segments: list[Segment] = list(strip)  # type: ignore[call-overload]
    grouped = groupby(segments, key=lambda s: str(s.style or "").partition(" link")[0])
    return [f"{sum(s.cell_length for s in group)}[{_plain(style)}]" for style, group in grouped]


def _plain(style: str) -> str:
    return style.replace("not ", "!").replace(" on ", "/")
