"""Where a chat keeps its files, and its life from the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from specdec_tui.core.config import Config
from specdec_tui.early_keys import EarlyKeys
from specdec_tui.splash import splash

if TYPE_CHECKING:
    from specdec_tui.app import ChatApp

_LEAVING = 3.0
"""Seconds that a chat has to save and to leave once its terminal is gone."""


def config_path() -> Path:
    return Path(platformdirs.user_config_dir("specdec"), "chat.toml")


def database_path() -> Path:
    return Path(platformdirs.user_data_dir("specdec"), "sessions.db")


def log_path() -> Path:
    return Path(platformdirs.user_log_dir("specdec"), "engine.log")


def run(config: Config, *, database: Path | None, resume: str | None = None, question: str = "") -> tuple[int, int]:
    """Run the chat in this terminal; returns how many changes could not be saved, and the exit code."""
    with EarlyKeys() as keys:
        with splash(config.screen.theme):
            from specdec_tui.app import ChatApp  # half a second on a slow machine, with something to look at
            from specdec_tui.core.engines import EngineOpener

            opener = EngineOpener(log_path())
            app = ChatApp(config, opener, database=database, resume=resume, typed=keys.read(), question=question)
        asyncio.run(_run(app))
    return app.unsaved, app.return_code or 0


async def _run(app: ChatApp) -> None:
    """Whoever ends the process ends the chat: it saves, and gives the terminal back as it was."""
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, partial(app.exit, return_code=128 + signal.SIGTERM))
        loop.add_signal_handler(signal.SIGHUP, _hang_up, app)
    await app.run_async()


def _hang_up(app: ChatApp) -> None:
    """The terminal is gone. What is still written to it goes nowhere: an error would end the thread that Textual writes
    by, and then leaving waits for it for ever."""
    code = 128 + signal.SIGHUP
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    last_resort = threading.Timer(_LEAVING, os._exit, (code,))  # that thread may have ended already
    last_resort.daemon = True
    last_resort.start()
    app.exit(return_code=code)
