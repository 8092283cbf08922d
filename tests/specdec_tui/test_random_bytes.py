"""Bytes at random into a real terminal, as keys, mouse, pastes and sizes come: the chat may refuse, but never ends.

SPECDEC_ACTIONS=2000 pytest -m slow tests/specdec_tui/test_random_bytes.py
"""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdec_tui.core.sequences import title
from tests.specdec_tui.test_random import TEXTS
from tests.specdec_tui.window import Window

fcntl = pytest.importorskip("fcntl", reason="terminals of Unix")
termios = pytest.importorskip("termios")

ACTIONS = int(os.environ.get("SPECDEC_ACTIONS", "300"))
"""For each of five seeds."""
CHAT = """
import sys
from pathlib import Path
from specdec_tui import run
from specdec_tui.core import engines
from specdec_tui.core.config import Config
from tests.fakes import ScriptedEngine
from tests.specdec_tui.test_random import SCRIPT
engines.EngineOpener = lambda log: lambda options, progress: ScriptedEngine(SCRIPT)
from specdec_tui.app import ChatApp
leave = ChatApp.exit
ChatApp.exit = lambda *given, **more: leave(*given, **more) if Path("over").exists() else None
sys.exit(run.run(Config(read_folder=True), database=Path("sessions.db"))[1])
"""
"""Who chooses to leave may when it is over."""
ESCAPE, INTERRUPT = b"\x1b", b"\x03"
KEYS = (
    *(ESCAPE, INTERRUPT, b"\r", b"\t", b"\n", b"\x7f", b" ", b"/", b"@", b"[", b"]", b"\x1b[Z", b"\x1b\x1b", b"\x1bc"),
    *(b"\x1b[" + end for end in (b"A", b"B", b"C", b"D", b"H", b"F", b"5~", b"6~", b"3~", b"1;5A", b"I", b"O")),
    *(b"\x1bO" + end for end in (b"P", b"Q", b"R", b"S")),
    *(b"\x1b[%d~" % number for number in (15, 17, 18, 19, 20)),
    *(bytes([ord(letter) - ord("a") + 1]) for letter in "adgknopqrtz"),
    *(letter.encode() for letter in "abcdenrstvxyé🦊"),
    b"\xff",
)
FULL = 1000
"""Bytes that nobody has read: a terminal takes no more than some 4,000."""


class Hand:
    """What somebody's hands do."""

    def __init__(self, window: Window, seed: int) -> None:
        self._window, self._dice = window, random.Random(seed)
        self._size = (80, 24)
        self.done: list[object] = []

    def act(self) -> None:
        dice = self._dice
        match dice.randrange(12):
            case 0:
                self._resize(dice.randrange(8, 220), dice.randrange(4, 70))
            case 1 | 2:
                self.send(dice.choice(TEXTS).replace("\x1b", "").encode() + b"\r")
            case 3:
                self.send(b"\x1b[200~" + dice.choice(TEXTS).encode() * dice.randrange(1, 9) + b"\x1b[201~")
            case 4 | 5:
                self._point()
            case _:
                self.send(b"".join(dice.choices(KEYS, k=dice.randrange(1, 6))))
        if dice.random() < 0.5:
            self.read()

    def send(self, keys: bytes) -> None:
        self.done.append(keys)
        self.read(FULL)
        self._window.write(keys)

    def read(self, but: int = 0) -> None:
        """Wait until the chat has read what was sent, `but` so many bytes."""
        while self._unread() > but and self._window.process.poll() is None:
            time.sleep(0.01)

    def _unread(self) -> int:
        given = fcntl.ioctl(self._window.theirs, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", given)[0])

    def _resize(self, width: int, height: int) -> None:
        self.done.append((width, height))
        self._size = (width, height)
        fcntl.ioctl(self._window.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self._window.process.send_signal(signal.SIGWINCH)

    def _point(self) -> None:
        """Press, drag perhaps, and let go; or turn the wheel."""
        (x, y), button = self._place(), self._dice.choice((0, 0, 0, 2, 64, 65))
        moves = [f"{button};{x};{y}M"]
        if button < 3:
            if self._dice.random() < 0.3:
                x, y = self._place()
                moves.append(f"{button + 32};{x};{y}M")
            moves.append(f"{button};{x};{y}m")
        self.send("".join(f"\x1b[<{move}" for move in moves).encode())

    def _place(self) -> tuple[int, int]:
        width, height = self._size
        return self._dice.randrange(1, width + 1), self._dice.randrange(1, height + 1)


def _goes_on(window: Window, hand: Hand) -> None:
    if window.process.poll() is not None:
        window.end()
        pytest.fail(f"ended after {hand.done[-9:]}:\n{window.shown[-9000:].decode(errors='replace')}")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    (tmp_path / "README.md").write_text("hello " * 50, "utf-8")
    window = Window(CHAT, folder=str(tmp_path), EDITOR="true", XDG_STATE_HOME=str(tmp_path))
    yield window
    window.close()


@pytest.mark.slow
@pytest.mark.timeout(600 + 2 * ACTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_no_bytes_end_the_chat(window: Window, tmp_path: Path, seed: int) -> None:
    hand = Hand(window, seed)
    window.until(b"ready")
    for _ in range(ACTIONS):
        hand.act()
        _goes_on(window, hand)
    while title("Still there · SpecDec").encode() not in window.shown:
        for keys in (ESCAPE, ESCAPE, INTERRUPT, b"/rename Still there\r"):
            hand.send(keys)
            hand.read()
            time.sleep(0.2)  # a byte behind Escape would make one key of both
        _goes_on(window, hand)
    (tmp_path / "over").touch()
    hand.send(b"/quit\r")
    assert window.end() == 0
