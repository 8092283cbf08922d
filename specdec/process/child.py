"""The child's side: loads the engine that it is told to, then answers the parent's calls until the pipe ends.

The engine's worker puts its events into one outbox, which never blocks; one thread reads the calls. While a parent
lags, the worker decodes on, and the events of that time go out together.
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
from typing import BinaryIO, Protocol

from specdec.engine import Engine, Progress
from specdec.errors import EngineClosed, InvalidRequest
from specdec.process.faults import Fault
from specdec.process.wire import (
    BEAT,
    LIFE,
    Batch,
    Call,
    Count,
    Order,
    Pulse,
    Reply,
    Stage,
    encode_batch,
    is_last,
)
from specdec.types import GenerationEvent, Request

_PATIENCE = 10.0  # seconds that closing may take once the parent has left

Deliver = Callable[[GenerationEvent | BaseException], None]


class Servable(Engine, Protocol):
    """An Engine that also hands its events to a callback, in its own thread: a hop less for every token."""

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        """`deliver` does not block. Returns what cancels the request, from any thread."""
        ...


class Factory(Protocol):
    """Makes the engine in the child. Has to be importable there, not defined in `__main__`."""

    def __call__(self, *, progress: Progress) -> Servable: ...


def main() -> None:
    """The child's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who then closes the pipe
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the parent until here
    calls, replies = _take_pipes()
    if sys.stderr is not None:
        faulthandler.enable()
    _Server(calls, _Outbox(replies)).serve()
    atexit._run_exitfuncs()  # noqa: SLF001
    os._exit(0)  # taking torch's modules apart costs a second, and whoever closes waits for it


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our ends of the pipes. Whoever prints or reads in this process gets standard error and nothing instead."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with suppress(OSError):  # there may be no standard error
        os.dup2(2, 1)
    return calls, replies


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
            if self._lagging or self._may_wait(reply):
                return
            if self._written(self._batch):
                self._batch = []
            else:
                self._lagging = True
                self._changed.notify()

    def close(self) -> None:
        """Returns when everything is written."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._writer.join()

    def _may_wait(self, reply: Reply) -> bool:
        """For a round that is not the last: there will be another."""
        if not isinstance(reply, GenerationEvent) or reply.round is None or is_last(reply):
            return False
        now = time.monotonic()
        waits = now - self._sent < self.gather
        if not waits:
            self._sent = now
        return waits

    def _written(self, batch: Batch) -> bool:
        """Write it if that cannot block; the system promises so for PIPE_BUF bytes where a pipe is ready."""
        if self._room is None or not self._room.poll(0):
            return False
        message = encode_batch(batch)
        if len(message) > select.PIPE_BUF:
            return False
        with suppress(BrokenPipeError):  # the parent is gone; the thread that reads sees it too
            os.write(self._pipe.fileno(), message)
        return True

    def _write(self) -> None:
        with suppress(BrokenPipeError):
            while batch := self._gathered():
                self._pipe.write(encode_batch(batch))
                self._pipe.flush()

    def _gathered(self) -> Batch:
        """What there is, at least one; empty at the end."""
        with self._changed:
            self._lagging = bool(self._batch)
            self._changed.wait_for(lambda: self._batch or self._closed)
            batch, self._batch = self._batch, []
            return batch


class _Answer:
    """One request's way back. The word that it was admitted goes before its events."""

    def __init__(self, put: Callable[[Reply], None], admitted: GenerationEvent) -> None:
        self._put, self._admitted = put, admitted
        self._lock = threading.Lock()
        self._said = False
        self.cancel: Callable[[], None] = lambda: None

    def admit(self) -> None:
        with self._lock:  # the engine's worker may be faster than the thread that handed the request in
            if not self._said:
                self._put(self._admitted)
                self._said = True

    def deliver(self, item: GenerationEvent | BaseException) -> None:
        if not self._said:
            self.admit()
        self._put(Fault.of(item) if isinstance(item, BaseException) else item)


class _Server:
    """Answers calls with the engine."""

    def __init__(self, calls: BinaryIO, outbox: _Outbox) -> None:
        self._calls, self._outbox = calls, outbox
        self._answers: dict[int, _Answer] = {}
        self._engine: Servable | None = None
        self._left = threading.Event()

    def serve(self) -> None:
        factory: bytes
        factory, self._outbox.gather = pickle.load(self._calls)  # noqa: S301  (from the parent, over its private pipe)
        for run in (self._listen, self._watch):
            threading.Thread(target=run, name=f"specdec{run.__name__}", daemon=True).start()
        try:
            engine: Servable = pickle.loads(factory)(progress=self._progress)  # noqa: S301  (the same)
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            self._outbox.put(LIFE, Fault.of(error))
        else:
            self._engine = engine
            self._outbox.put(LIFE, engine.info)
            self._left.wait()
            engine.close()
            self._outbox.put(LIFE, engine.stats())
        self._outbox.close()

    def _progress(self, stage: str, fraction: float) -> None:
        self._outbox.put(LIFE, Stage(stage, fraction))

    def _listen(self) -> None:
        try:
            while True:
                self._take(*pickle.load(self._calls))  # noqa: S301  (from the parent)
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
            time.sleep(BEAT)
        self._leave()

    def _beat(self) -> None:
        self._outbox.put(LIFE, Pulse(self._engine.down if self._engine else None))

    def _leave(self) -> None:
        if not self._engine:
            os._exit(0)  # nothing was promised yet, and loading cannot be interrupted
        self._left.set()
        time.sleep(_PATIENCE)  # the main thread closes the engine, and the process ends before this does
        os._exit(1)

    def _take(self, number: int, blob: bytes) -> None:
        """Whatever is wrong with a call is the answer to it, and the next is heard."""
        try:
            call: Call = pickle.loads(blob)  # noqa: S301  (from the parent)
        except BaseException as error:  # noqa: BLE001  (of a class that only the parent knows, or a module that exits)
            refusal = InvalidRequest("request", str(error), "values that another process can read")
            self._reply(number, Fault.of(refusal))
            return
        try:
            self._do(number, call)
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            self._reply(number, Fault.of(error))

    def _do(self, number: int, call: Call) -> None:
        if self._engine is None:
            raise EngineClosed("the engine is still loading")
        if isinstance(call, Request):
            answer = self._answers[number] = _Answer(partial(self._reply, number), GenerationEvent(call.id))
            answer.cancel = self._engine.submit(call, answer.deliver)
            answer.admit()
        elif isinstance(call, Count):
            self._reply(number, self._engine.tokenize(call.request))
        elif call is Order.STATS:
            self._reply(number, self._engine.stats())
        elif running := self._answers.pop(number, None):
            running.cancel()

    def _reply(self, number: int, reply: Reply) -> None:
        if isinstance(reply, Fault):
            self._beat()  # first, so that whoever hears of the engine's end finds it down
        if is_last(reply):
            self._answers.pop(number, None)
        self._outbox.put(number, reply)
