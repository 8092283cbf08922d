"""The whole thing in a real terminal, tmux, with the bundled pair: what a user sees after `specdec chat`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
PATIENCE = 120.0
WIDTH, HEIGHT = 110, 34


class Terminal:
    """One tmux server of its own."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket)]

    def start(self, command: str, environment: dict[str, str]) -> None:
        settings = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
        self._run("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), *settings, command)
        self._run("set-option", "-g", "remain-on-exit", "on")

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    @property
    def text(self) -> str:
        return self._run("capture-pane", "-p")

    def until(self, predicate: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + PATIENCE
        while not predicate(text := self.text):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        return text

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def _run(self, *arguments: str) -> str:
        given = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES", "NO_COLOR", "TMUX")}
        done = subprocess.run([*self._tmux, *arguments], env=given, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "tmux")
    yield terminal
    terminal.end()


def test_a_chat_with_the_bundled_pair(terminal: Terminal, tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    environment = {**folders, "TERM": "tmux-256color", "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    command = f"echo about an owl. | {sys.executable} -m specdec chat --temperature 0 --max-tokens 40 'Tell a story'"
    terminal.start(command, environment)
    terminal.until(lambda text: "tokens/s ·" in text)
    terminal.until(lambda text: text.rstrip().splitlines()[-1].startswith(" ready"))
    assert "Tell a story" in terminal.text
    assert "about an owl." in terminal.text
    terminal.keys("C-n")
    terminal.until(lambda text: "take one of these" in text)
    terminal.keys("Tab")
    terminal.until(lambda text: "Enter asks" in text)
    terminal.keys("Down", "Enter")
    text = terminal.until(lambda text: "tokens/s ·" in text)
    assert "Mia took his boat to the lake." in text
    assert "acceptance" in text
    terminal.keys("C-t")
    terminal.until(lambda text: "accepted  recovered  bonus  plain  rejected" in text)
    terminal.keys("Escape")
    terminal.until(lambda text: "recovered" not in text)
    terminal.keys("/quit", "Enter")
    terminal.until(lambda text: "Pane is dead" in text or "◆ SpecDec" not in text)
    assert (tmp_path / "XDG_DATA_HOME" / "specdec" / "sessions.db").is_file()
