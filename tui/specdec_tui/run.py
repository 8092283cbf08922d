"""Where a chat keeps its files, and its life from the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from specdec.courtesy import Courtesy
from specdec_tui.core.config import Config
from specdec_tui.splash import splash

if TYPE_CHECKING:
    from specdec_tui.app import ChatApp


def config_path() -> Path:
    return Path(platformdirs.user_config_dir("specdec"), "chat.toml")


def database_path() -> Path:
    return Path(platformdirs.user_data_dir("specdec"), "sessions.db")


def log_path() -> Path:
    return Path(platformdirs.user_log_dir("specdec"), "engine.log")


def run(config: Config, *, database: Path | None, resume: str | None = None) -> int:
    """Run the chat in this terminal; returns how many changes could not be saved."""
    with splash(config.screen.theme):
        from specdec_tui.app import ChatApp  # half a second on a slow machine, with something to look at
        from specdec_tui.core.engines import Opener

        courtesy = Courtesy()
        app = ChatApp(config, Opener(log_path(), courtesy), database=database, resume=resume)
    run_app(app, courtesy)
    return app.unsaved


def run_app(app: ChatApp, courtesy: Courtesy) -> None:
    """In a loop that the engines make room for."""
    with asyncio.Runner(loop_factory=courtesy.new_event_loop) as runner:
        runner.run(app.run_async())
