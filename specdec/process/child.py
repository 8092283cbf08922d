"""A child process, seen from the parent: started, loaded, asked, and ended for a reason.

Three threads serve it: one writes calls in the order in which they were made, one reads replies and puts each into the
inbox of its request, one watches that the child says something at all. None waits for whoever reads an inbox, and no
caller ever waits for a full pipe, nor without end for a child that was stopped or hangs.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from typing import IO, Any, BinaryIO, cast

from specdec.engine import Progress
from specdec.errors import EngineClosed, EngineError, EngineFailed
from specdec.process.errors import PortableError
from specdec.process.messages import ENGINE, HEARTBEAT, Call, Heartbeat, Order, encode, is_last
from specdec.types import EngineInfo, EngineStats

Inbox = Callable[[Any], None]
Stderr = int | IO[Any] | None

_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from specdec.process.worker import main; main()"
_PATIENCE = 10.0  # seconds a child may take to leave before it is killed
_QUIET = 5
"""Heartbeats without a word after which a child counts as down. A busy one speaks: models run without Python's lock."""
_LOST = 30
"""Heartbeats without a word after which it is killed."""
_SIGNALS = {each.value: each.name for each in signal.Signals}


class ChildProcess:
    """A child process from its start to its end; every method may be called from any thread."""

    def __init__(self, factory: bytes, stderr: Stderr, gather: float) -> None:
        self.stats: EngineStats | None = None
        """The last that was heard."""
        self._process = _start(stderr)
        self._numbers = count(ENGINE + 1)
        self._loading: SimpleQueue[Any] = SimpleQueue()
        self._inboxes: dict[int, Inbox] = {ENGINE: self._loading.put}
        self._unheard: set[int] = set()
        """Calls that no reply has come to yet."""
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._outgoing.put(pickle.dumps((factory, gather)))
        self._lock = threading.Lock()
        self._loaded = False
        self._silent = 0
        """Heartbeats that could have been since the last word of the child."""
        self._engine_down: str | None = None
        self._over: str | None = None
        self._cause: BaseException | None = None
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"specdec{run.__name__}", daemon=True)
            for run in (self._read, self._write, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def over(self) -> str | None:
        """Why no more calls will be taken, or None."""
        return self._over or self._engine_down

    @property
    def down(self) -> str | None:
        """Why no calls are taken now, or None."""
        if self.over:
            return self.over
        if not self._loaded:
            return "the engine is still loading"
        if self._silent >= _QUIET:
            return f"the engine's process has not answered for {self._silent * HEARTBEAT:.0f} s"
        return None

    def load(self, progress: Progress) -> EngineInfo:
        """Wait until the engine is ready. Whatever interrupts that, `progress` included, ends the child."""
        try:
            while not isinstance(heard := self._loading.get(), EngineInfo):
                if isinstance(heard, BaseException):
                    raise heard
                progress(heard.name, heard.fraction)
        except BaseException:
            self._process.kill()  # it may be deep in a library, where it hears nothing
            self.close()
            raise
        self._loaded = True
        return heard

    def ask(self, call: Call, inbox: Inbox) -> int:
        """Send a call; its replies, or the error that ends them, go to `inbox` in the reading thread."""
        number = next(self._numbers)
        message = encode(number, call)
        with self._lock:
            if down := self.down:
                advice = "restart() brings it back" if self.over else "try again later"
                raise EngineClosed(f"{down}; {advice}") from self._cause
            self._inboxes[number] = inbox
            self._unheard.add(number)
            self._outgoing.put(message)
        return number

    def cancel(self, number: int) -> None:
        # No lock: this may run inside a garbage collection in any thread, and SimpleQueue.put is made for that.
        self._unheard.discard(number)
        if self._inboxes.pop(number, None):
            self._outgoing.put(encode(number, Order.CANCEL))

    def close(self) -> None:
        """End it, gently first. Returns when the process is gone."""
        closed = EngineClosed("the engine was closed before the answer was finished")
        self._end("the engine is closed", closed)
        self._reap()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _end(self, why: str, error: EngineError) -> None:
        """Take no more calls and tell everyone who still waits; the first reason is the one that counts."""
        with self._lock:
            if self._over:
                return
            self._over, self._cause = why, error.__cause__
            left, self._inboxes = self._inboxes, {}
        self._ended.set()
        self._outgoing.put(None)
        for inbox in left.values():
            own = type(error)(*error.args)  # each its own: raising adds to an error's traceback
            own.__cause__ = error.__cause__
            inbox(own)

    def _fail(self, how: str) -> None:
        """Fail what is running, unless the process was meant to end."""
        failed = EngineFailed(f"the engine's process {how}; restart() brings it back")
        failed.__cause__ = ChildProcessError(f"process {self.pid} {how}")
        self._end(f"the engine's process {how}", failed)

    def _reap(self) -> int:
        """Wait for the process, so that no zombie stays; kill it if it does not leave by itself."""
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _write(self) -> None:
        pipe = cast("BinaryIO", self._process.stdin)
        with suppress(OSError):  # the child is gone; the reading thread says so
            while (message := self._outgoing.get()) is not None:
                pipe.write(message)
                pipe.flush()
        with suppress(OSError):
            pipe.close()

    def _read(self) -> None:
        pipe = cast("BinaryIO", self._process.stdout)
        try:
            with pipe, suppress(EOFError, OSError, pickle.UnpicklingError):  # the last: killed while it wrote
                while True:
                    for number, reply in pickle.load(pipe):  # noqa: S301  (from our own child, over its own pipe)
                        self._silent = 0
                        if isinstance(reply, Heartbeat):
                            self._engine_down = reply.down
                            continue
                        if isinstance(reply, EngineStats):
                            self.stats = reply
                        self._unheard.discard(number)
                        inbox = self._inboxes.get(number)
                        if is_last(reply):
                            self._inboxes.pop(number, None)
                        if inbox:
                            inbox(reply.error() if isinstance(reply, PortableError) else reply)
        finally:  # even after a bug above nobody may wait for ever
            code = self._reap()
            killer = _SIGNALS.get(-code, f"signal {-code}")
            self._fail(f"ended with exit code {code}" if code >= 0 else f"was killed by {killer}")

    def _watch(self) -> None:
        """Heartbeats are counted as we live through them, not by the clock: what stops both stops this too."""
        while not self._ended.wait(HEARTBEAT):
            self._silent += 1
            if not self._loaded or self._silent < _QUIET:
                continue  # a library that loads may be silent for as long as the disk takes
            if self._silent >= _LOST:
                self._fail(f"did not answer for {self._silent * HEARTBEAT:.0f} s and was killed")
                self._process.kill()
                continue
            # let no one wait whom nothing was promised; an answer that has begun may still go on
            why = f"{self.down}; try again later"
            for number in list(self._unheard):
                inbox = self._inboxes.get(number)
                self.cancel(number)
                if inbox:
                    inbox(EngineClosed(why))


def _start(stderr: Stderr) -> subprocess.Popen[bytes]:
    """The child inherits that interrupts are blocked, so that Ctrl-C does not reach it before it has learnt to ignore
    it.

    A signal that asks for the parent's death (PR_SET_PDEATHSIG) would be no help: it comes when the thread that
    started the child ends, and a pool's threads do.
    """
    command = [sys.executable, "-P", "-c", _BOOT, *sys.path]
    if sys.platform != "win32":
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(  # noqa: S603  (our own interpreter)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
