"""Where a chat keeps its files, and its life from the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import platformdirs

from specdec_tui.core.config import Config
from specdec_tui.splash import splash


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
        from specdec_tui.core.engines import EngineOpener

        app = ChatApp(config, EngineOpener(log_path()), database=database, resume=resume)
    asyncio.run(app.run_async())
    return app.unsaved
