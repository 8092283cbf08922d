"""The chat in a browser: who is let in, and, slow, a page in headless Chromium."""

from __future__ import annotations

import asyncio
import base64
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
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse

from specdec.cli.chat import _SERVER, _without

PATIENCE = 60.0
_PAINTED = 15_000  # bytes; an empty page has 3,000
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
async def test_a_page_shows_the_chat(served: str, tmp_path: Path) -> None:
    """In headless Chromium: the app paints, and its terminal takes keys."""
    assert CHROMIUM
    port = _free_port()
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,700", "--remote-allow-origins=*",
        f"--remote-debugging-port={port}", f"--user-data-dir={tmp_path / 'profile'}", served,
    ]  # fmt: skip
    browser = subprocess.Popen(  # noqa: ASYNC220  (returns at once)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with ClientSession() as session:
            page = await _page(session, port)
            async with session.ws_connect(page) as debugger:
                await _until(debugger, "document.body.classList.contains('-first-byte')")
                await _painted(debugger, tmp_path / "page.png")
    finally:
        browser.terminate()
        browser.wait(20)


async def _page(session: ClientSession, port: int) -> str:
    """Where the page's debugger listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            async with session.get(f"http://localhost:{port}/json") as reply:
                pages = [p for p in await reply.json() if p["type"] == "page"]
                return str(pages[0]["webSocketDebuggerUrl"])
        except (ClientError, IndexError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def _until(debugger: ClientWebSocketResponse, expression: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (await _ask(debugger, "Runtime.evaluate", {"expression": expression}))["result"].get("value"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def _painted(debugger: ClientWebSocketResponse, path: Path) -> None:
    """The terminal is a canvas, so its picture is looked at: one that is more than empty is large."""
    deadline = time.monotonic() + PATIENCE
    picture = b""
    while len(picture) < _PAINTED:
        assert time.monotonic() < deadline
        shot = await _ask(debugger, "Page.captureScreenshot", {})
        picture = base64.b64decode(shot["data"])
    path.write_bytes(picture)  # noqa: ASYNC240


async def _ask(debugger: ClientWebSocketResponse, method: str, params: dict[str, Any]) -> dict[str, Any]:
    await debugger.send_json({"id": 1, "method": method, "params": params})
    while "result" not in (message := await debugger.receive_json()):
        pass
    return dict(message["result"])
