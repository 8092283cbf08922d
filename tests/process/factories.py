"""Engines for a child to make, found there by their names; all but the toy do without torch."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from specdec.engine import Deliver, Engine, Progress
from specdec.errors import EngineBusy, EngineFailed, PromptTooLong, TokenizerMismatch
from specdec.types import Request
from tests.fakes import SCRIPT, ScriptedEngine, ScriptedStream

HELD = 100
"""Answers that may be this long wait after two events until they are cancelled; shorter ones never wait."""

LONG_WINDED = 42_000
"""Tokens."""


class ThreadedEngine(ScriptedEngine):
    """Hands its events to a callback, each answer in a thread of its own.

    With `held` long answers stop after two events until they are cancelled: "in the middle of an answer" is then a
    state that lasts, and no test depends on its speed.
    """

    held = False
    done: Path | None = None

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        self.refuse(request)
        events, cancelled = self.stream(request), threading.Event()
        holds = self.held and (request.sampling.max_tokens or 0) >= HELD
        answer = threading.Thread(target=self._answer, args=(events, deliver, cancelled, holds), daemon=True)
        answer.start()
        return cancelled.set

    def refuse(self, request: Request) -> None:
        """What only the child can know."""
        if "too long" in request.prompt:
            raise PromptTooLong("prompt", "300 tokens", "at most 255 tokens")
        if "busy" in request.prompt:
            raise EngineBusy("256 requests are waiting, as many as the queue holds; try again later")

    def _answer(self, events: ScriptedStream, deliver: Deliver, cancelled: threading.Event, holds: bool) -> None:
        for number, event in enumerate(events, 1):
            deliver(event)
            if holds and number == 2:
                cancelled.wait()
            if cancelled.is_set():
                break
        events.close()
        if self.done:
            self.done.touch()


class HeldEngine(ThreadedEngine):
    held = True


class DyingEngine(ThreadedEngine):
    """Does what the prompt says to the process that it lives in."""

    def refuse(self, request: Request) -> None:
        if request.prompt == "exit":
            os._exit(7)
        if request.prompt == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if request.prompt == "break":
            raise EngineFailed("the engine failed and is closed") from ForeignError("a kernel broke")
        if request.prompt == "print":
            os.write(1, b"a library that prints")
            assert sys.stdin.read() == "", "standard input is not the pipe"


class BrokenEngine(ThreadedEngine):
    """Answers, and fails at all else that it is asked."""

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        super().submit(request, deliver)
        return self._raise

    def stats(self) -> NoReturn:
        self._raise()

    def tokenize(self, *_: Any) -> NoReturn:
        self._raise()

    def _raise(self) -> NoReturn:
        raise RuntimeError("a bug")


class PonderingEngine(ThreadedEngine):
    """Takes `SECONDS` to take a request, all of them in Python."""

    SECONDS = 3.0

    def refuse(self, request: Request) -> None:
        end = time.monotonic() + self.SECONDS
        while time.monotonic() < end:
            pass


def held(*, progress: Progress) -> Engine:
    progress("target", 0.0)
    progress("ready", 1.0)
    return HeldEngine(SCRIPT * 30)


def broken(*, progress: Progress) -> Engine:
    return BrokenEngine(SCRIPT * 30)


def failing(*, progress: Progress) -> Engine:
    """Its worker dies in its tenth pass after it was loaded."""
    from tests.decoding.toy import ToyModel, toy_engine

    target = ToyModel()
    engine = toy_engine(target=target)
    target.fail_at = target.passes + 10
    return engine


def pondering(*, progress: Progress) -> Engine:
    return PonderingEngine()


def gated(*, progress: Progress, gate: Path) -> Engine:
    """Loads for as long as there is no `gate`."""
    progress("target", 0.0)
    while not gate.exists():
        time.sleep(0.01)
    return HeldEngine(SCRIPT * 30)


def dying(*, progress: Progress) -> Engine:
    return DyingEngine()


def long_winded(*, progress: Progress, done: Path) -> Engine:
    """More events than a pipe holds; `done` appears when the last was handed over."""
    engine = ThreadedEngine(SCRIPT * (LONG_WINDED // len(SCRIPT)), width=2)
    engine.done = done
    return engine


def toy(*, progress: Progress) -> Engine:
    from tests.decoding.toy import toy_engine

    return toy_engine("near", slots=4)


def mismatch(*, progress: Progress) -> NoReturn:
    raise TokenizerMismatch("draft and target differ at token 7")


class ForeignError(Exception):
    """Of a library that the parent has no business importing."""


def foreign(*, progress: Progress) -> NoReturn:
    raise ForeignError("out of\nmemory")


def dies(*, progress: Progress) -> NoReturn:
    progress("target", 0.0)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def never(*, progress: Progress) -> NoReturn:
    progress("target", 0.0)
    while True:
        signal.pause()
