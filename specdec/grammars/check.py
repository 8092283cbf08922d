"""Whether a grammar compiles, found out in a child process, since a hostile one may need hours or all of the stack.

The child is started with the first grammar and serves the whole process; one that does not answer in time is ended and
the next grammar starts another. What passes here compiles in the engine too: it has more stack and the same limits.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

SECONDS = 1.5
"""Time to compile one grammar, after the child is up."""
TOO_COMPLEX = "too complex to compile"
_START_SECONDS = 20.0
LIMITS: dict[str, Any] = {
    "max_lexer_states": 50_000,
    "step_max_items": 20_000,
    "max_grammar_size": 200_000,
    "verbose_errors": False,
}
"""llguidance's own: what compiling, and finding the tokens allowed at one position, may cost."""


class _Child:
    """A process that answers one line of JSON with another."""

    def __init__(self) -> None:
        # The file itself, not the package: the child needs llguidance and nothing of specdec.
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and file
            [sys.executable, str(Path(__file__).with_name("check_child.py")), json.dumps(LIMITS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._in = cast("IO[str]", self._process.stdin)
        self._out = cast("IO[str]", self._process.stdout)
        self._read(_START_SECONDS)

    def check(self, grammar: str) -> str | None:
        """The child's answer, or None when it died or took too long and is gone."""
        with suppress(OSError):
            self._in.write(json.dumps(grammar) + "\n")
            self._in.flush()
        line = self._read(SECONDS)
        return str(json.loads(line)) if line.endswith("\n") else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._in, self._out):
            with suppress(OSError):
                pipe.close()

    def _read(self, seconds: float) -> str:
        watch = threading.Timer(seconds, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            return self._out.readline()
        finally:
            watch.cancel()


_lock = threading.Lock()
_child: _Child | None = None


def refusal(grammar: str) -> str:
    """Why llguidance does not take this grammar, "" if it does. Answers within SECONDS."""
    return timed_refusal(grammar)[0]


def timed_refusal(grammar: str) -> tuple[str, float]:
    """The same, and how long it took to find out, the start of a child apart."""
    global _child  # noqa: PLW0603  one for the process, whoever asks
    with _lock:
        _child = _child or _Child()
        start = time.monotonic()
        answer = _child.check(grammar)
        if answer is None:
            _child.close()
            _child, answer = None, TOO_COMPLEX
        return answer, time.monotonic() - start


@atexit.register
def close() -> None:
    """End the child, if there is one."""
    global _child  # noqa: PLW0603
    with _lock:
        if _child is not None:
            _child.close()
            _child = None
