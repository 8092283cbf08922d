"""The child's side: loads the engine that it is told to, then answers the parent's calls until the pipe ends.

The engine's worker puts its events into one outbox, which never blocks; one thread reads the calls. While a parent
lags, the engine decodes on, and the events of that time go out together.
"""

from __future__ import annotations

import atexit
import faulthandler
import math
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from specdec.engine import Engine
from specdec.errors import EngineClosed, InvalidRequest
from specdec.process.errors import PortableError
from specdec.process.messages import (
    ENGINE,
    HEARTBEAT,
    Batch,
    Call,
    Heartbeat,
    Order,
    Reply,
    Stage,
    Tokenize,
    encode_batch,
    is_last,
)
from specdec.types import GenerationEvent, Request

_PATIENCE = 10.0  # seconds that closing may take once the parent has left


def main() -> None:
    """The child's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who then closes the pipe
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the parent until here
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # whoever prints or reads in this process gets standard error and nothing instead of the pipes
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with suppress(OSError):  # there may be no standard error
        os.dup2(2, 1)
    if sys.stderr is not None:
        faulthandler.enable()
    _Worker(calls, _Outbox(replies)).run()
    atexit._run_exitfuncs()  # noqa: SLF001
    os._exit(0)  # taking torch's modules apart costs a second, and whoever closes waits for it


class _Outbox:
    """Replies on their way to the parent. Putting never blocks.

    Whoever puts writes it himself while the pipe has room: waking another thread for every token would cost the
    engine's worker ten times as much. When the parent lags, replies gather and a thread sends them together.
    A round that ends within `gather` seconds of the last that was sent goes out with the next one.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self.gather = 0.0
        self._sent = -math.inf
        self._batch: Batch = []
        self._lagging = self._closed = False
        self._changed = threading.Condition()
        self._room = select.poll() if hasattr(select, "poll") else None
        if self._room:
            self._room.register(pipe, select.POLLOUT)
        self._writer = threading.Thread(target=self._write, name="specdec-outbox", daemon=True)
        self._writer.start()

    def put(self, number: int, reply: Reply) -> None:
        with self._changed:
            self._batch.append((number, reply))
            if self._lagging:
                return
            if isinstance(reply, GenerationEvent) and reply.round and not reply.end:  # there will be another
                now = time.monotonic()
                if now - self._sent < self.gather:
                    return
                self._sent = now
            if self._room and self._room.poll(0):
                message = encode_batch(self._batch)
                if len(message) <= select.PIPE_BUF:  # the system promises that a ready pipe has as much room
                    with suppress(BrokenPipeError):  # the parent is gone; the thread that reads sees it too
                        os.write(self._pipe.fileno(), message)
                    self._batch = []
                    return
            self._lagging = True
            self._changed.notify()

    def close(self) -> None:
        """Returns when everything is written."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._writer.join()

    def _write(self) -> None:
        with suppress(BrokenPipeError):
            while True:
                with self._changed:
                    self._lagging = bool(self._batch)
                    self._changed.wait_for(lambda: self._batch or self._closed)
                    batch, self._batch = self._batch, []
                if not batch:
                    return
                self._pipe.write(encode_batch(batch))
                self._pipe.flush()


class _Submission:
    """A request that the engine has. The word that it was admitted goes before its events."""

    def __init__(self, reply: Callable[[Reply], None], admitted: GenerationEvent) -> None:
        self._reply, self._admitted = reply, admitted
        self._lock = threading.Lock()
        self._said = False
        self.cancel: Callable[[], None] = lambda: None

    def admit(self) -> None:
        with self._lock:  # the engine's worker may be faster than the thread that handed the request in
            if not self._said:
                self._reply(self._admitted)
                self._said = True

    def deliver(self, item: GenerationEvent | BaseException) -> None:
        if not self._said:
            self.admit()
        self._reply(PortableError.of(item) if isinstance(item, BaseException) else item)


class _Worker:
    """Answers calls with the engine."""

    def __init__(self, calls: BinaryIO, outbox: _Outbox) -> None:
        self._calls, self._outbox = calls, outbox
        self._submitted: dict[int, _Submission] = {}
        self._engine: Engine | None = None
        self._left = threading.Event()

    def run(self) -> None:
        factory: bytes
        factory, self._outbox.gather = pickle.load(self._calls)  # noqa: S301  (from the parent, over its private pipe)
        for run in (self._listen, self._watch):
            threading.Thread(target=run, name=f"specdec{run.__name__}", daemon=True).start()
        try:
            engine: Engine = pickle.loads(factory)(  # noqa: S301  (the same)
                progress=lambda stage, fraction: self._outbox.put(ENGINE, Stage(stage, fraction))
            )
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            self._outbox.put(ENGINE, PortableError.of(error))
        else:
            self._engine = engine
            self._outbox.put(ENGINE, engine.info)
            self._left.wait()
            engine.close()
            self._outbox.put(ENGINE, engine.stats())
        self._outbox.close()

    def _listen(self) -> None:
        try:
            while True:
                self._handle(*pickle.load(self._calls))  # noqa: S301  (from the parent)
        except (EOFError, OSError, pickle.UnpicklingError):
            pass  # the parent has left; the last: it was killed while it wrote
        except BaseException:  # noqa: BLE001  (a bug; nobody shall wait for a process that hears nothing)
            traceback.print_exc()
            os._exit(1)
        self._leave()

    def _watch(self) -> None:
        """A parent that forked has copies of the pipe, which outlive it, so its end may be silent. It in turn takes a
        child for lost that says nothing."""
        parent = os.getppid()
        while os.getppid() == parent:
            self._beat()
            time.sleep(HEARTBEAT)
        self._leave()

    def _beat(self) -> None:
        self._outbox.put(ENGINE, Heartbeat(self._engine.down if self._engine else None))

    def _leave(self) -> None:
        if not self._engine:
            os._exit(0)  # nothing was promised yet, and loading cannot be interrupted
        self._left.set()
        time.sleep(_PATIENCE)  # the main thread closes the engine, and the process ends before this does
        os._exit(1)

    def _handle(self, number: int, blob: bytes) -> None:
        """Whatever is wrong with a call is the answer to it, and the next is heard."""
        try:
            call: Call = pickle.loads(blob)  # noqa: S301  (from the parent)
        except BaseException as error:  # noqa: BLE001  (of a class that only the parent knows, or a module that exits)
            refusal = InvalidRequest("request", str(error), "values that another process can read")
            self._reply(number, PortableError.of(refusal))
            return
        try:
            if self._engine is None:
                raise EngineClosed("the engine is still loading")
            if isinstance(call, Request):
                submitted = _Submission(partial(self._reply, number), GenerationEvent(call.id))
                self._submitted[number] = submitted
                submitted.cancel = self._engine.submit(call, submitted.deliver)
                submitted.admit()
            elif isinstance(call, Tokenize):
                self._reply(number, self._engine.tokenize(call.request))
            elif call is Order.STATS:
                self._reply(number, self._engine.stats())
            elif running := self._submitted.pop(number, None):
                running.cancel()
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            self._reply(number, PortableError.of(error))

    def _reply(self, number: int, reply: Reply) -> None:
        if isinstance(reply, PortableError):
            self._beat()  # first, so that whoever hears of the engine's end finds it down
        if is_last(reply):
            self._submitted.pop(number, None)
        self._outbox.put(number, reply)
