"""`specdec serve` on the bundled pair, in a process of its own, as users run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bundled:
    url: str
    process: subprocess.Popen[str]

    @property
    def base(self) -> str:
        """What clients call base_url."""
        return f"{self.url}/v1"


@contextmanager
def bundled_server(*options: str) -> Iterator[Bundled]:
    """Runs until the block ends, and must then stop by itself, with exit code 0."""
    command = [sys.executable, "-m", "specdec", "serve", "--port", "0", *options]
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            url = _address(process)
            log = threading.Thread(target=_drain, args=(process,), daemon=True)
            log.start()
            yield Bundled(url, process)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    for line in process.stderr:
        if "listening on " in line:
            return line.split()[2].removesuffix("/v1")
    raise AssertionError("the server never listened")


def _drain(process: subprocess.Popen[str]) -> None:
    """Read the log, so that its pipe never fills."""
    assert process.stderr
    for _ in process.stderr:
        pass
