"""A chat of its own process in a terminal of its own: bytes go in, bytes come out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

_PATIENCE = 60.0


class Window:
    """`code` is run by Python, `arguments` are behind it in sys.argv."""

    def __init__(self, code: str, *arguments: str, folder: str | None = None, **environment: str) -> None:
        import pty  # there is none on Windows, whose tests skip this

        self.terminal, self.theirs = pty.openpty()
        known = {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path), **environment}
        command = [sys.executable, "-c", code, *arguments]
        theirs, where = self.theirs, {**os.environ, **known}
        self.process = subprocess.Popen(command, cwd=folder, env=where, stdin=theirs, stdout=theirs, stderr=theirs)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self.terminal, 65536):
                self.shown += piece
        except OSError:  # the other end is closed
            return

    def write(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def until(self, text: bytes) -> None:
        deadline = time.monotonic() + _PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-2000:]
            time.sleep(0.02)

    def end(self) -> int:
        code: int = self.process.wait(_PATIENCE)
        self._let_go()
        self._reader.join(10)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._let_go()
        os.close(self.terminal)

    def _let_go(self) -> None:
        """Of the chat's end, which stays open here until then so that one can look at what it has not read."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1
