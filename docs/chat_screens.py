"""Draws the README's pictures of the chat: the app itself, with the bundled pair, exported as SVG.

python docs/chat_screens.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from specdec_tui.app import ChatApp
from specdec_tui.core.config import Config
from specdec_tui.core.engines import EngineOpener
from specdec_tui.core.settings import ChatSettings

DOCS = Path(__file__).parent
PROMPT = "Tell me a story about a shy fox who finds a silver bell."
_STEP = 0.05


async def _until(pilot: Pilot[None], predicate: Callable[[], object]) -> None:
    while not predicate():
        await pilot.pause(_STEP)


async def _session(*pictures: tuple[str, str]) -> None:
    """One chat; `pictures` are a file's stem and the keys before it is drawn."""
    settings = ChatSettings().with_values({"temperature": 0.8, "max_tokens": 160, "seed": 7})
    app = ChatApp(Config(settings=settings), EngineOpener(Path(os.devnull)))
    async with app.run_test(size=(120, 36)) as pilot:
        await _until(pilot, lambda: app.engines.engine is not None and app.main.gauges)
        app.main.submit(PROMPT)
        await _until(pilot, lambda: app.main.generation and not app.main.running)
        for stem, keys in pictures:
            await pilot.press(*keys.split())
            await _until(pilot, lambda: app.screen is app.main or "x plain" in _verdict(app))
            await pilot.pause(1)
            (DOCS / f"{stem}.svg").write_text(app.export_screenshot(title="specdec chat"), "utf-8")


def _verdict(app: ChatApp) -> str:
    return str(app.screen.query_one("#verdict").render())


def main() -> None:
    os.environ.pop("NO_COLOR", None)
    asyncio.run(_session(("chat", ""), ("chat-tokens", "ctrl+t"), ("chat-compare", "escape f5")))


if __name__ == "__main__":
    main()
