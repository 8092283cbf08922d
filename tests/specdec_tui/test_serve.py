"""The chat in a browser: who is let in, and, slow, a page in headless Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdec.cli.chat import _SERVER, _without

PATIENCE = 60.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    port = _free_port()
    environment = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "TERM": "xterm",
    }
    command = [sys.executable, "-m", "specdec", "chat", "--serve", "--port", str(port), "--unsaved"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and _status(f"http://localhost:{port}/") is None:
            time.sleep(0.05)
        yield f"http://localhost:{port}/"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def _status(url: str, **headers: str) -> int | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def test_only_its_own_pages_are_let_in(served: str) -> None:
    assert _status(served) == 200
    assert _status(served, Host="evil.example") == 403
    assert _status(f"{served}ws", Origin="http://evil.example") == 403


def test_the_server_s_own_options_are_not_the_chat_s() -> None:
    given = ["--serve", "--port", "9", "--theme=light", "--host=0.0.0.0", "--target", "x"]
    assert _without(given, _SERVER) == ["--theme=light", "--target", "x"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_page_shows_the_chat(served: str, tmp_path: Path) -> None:
    """The page's terminal is drawn on a canvas, so what is looked at is a picture: it must not be of one colour."""
    assert CHROMIUM
    picture = tmp_path / "page.png"
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,700", f"--screenshot={picture}",
        "--virtual-time-budget=30000", f"--user-data-dir={tmp_path / 'profile'}", served,
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True, timeout=200)
    assert picture.stat().st_size > 10_000
