"""Stands in for `vllm`: the first node answers after a while, followers wait. Told how by the environment.

FAKE_LOG: a file that every node appends to when it starts and when it is asked to stop.
FAKE_FAIL: the rank of the node that ends at once, with exit code 7.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

from tests.remote.scripted import ScriptedServer

stopping = threading.Event()


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def log(words: str) -> None:
    with open(os.environ["FAKE_LOG"], "a") as file:
        file.write(f"{words} {option('--node-rank', '0')}\n")


def stop(_signal: int, _frame: FrameType | None) -> None:
    log("stopped")
    stopping.set()


def main() -> None:
    assert sys.argv[1] == "serve"
    signal.signal(signal.SIGTERM, stop)
    log("started")
    if os.environ.get("FAKE_FAIL") == option("--node-rank", "0"):
        sys.exit(7)
    if "--headless" in sys.argv:
        stopping.wait()
        return
    time.sleep(0.2)
    with ScriptedServer(port=int(option("--port", "8000"))):
        stopping.wait()


if __name__ == "__main__":
    main()
