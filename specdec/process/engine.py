"""ProcessEngine: the Engine contract over a child process, and a way back after a crash.

What is wrong with a request's own values is raised by the call. What only the child can know (chat template, length,
a full queue) is raised by `stream` and `generate` too, which wait for the child's answer. `astream` must not block the
event loop, so there it comes out of the first `__anext__`, before any event; whoever has to know earlier awaits
`admitted()` of the stream.
"""

from __future__ import annotations

import atexit
import pickle
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Self, Unpack, cast

from specdec.engine import Deliver, Progress, to_count
from specdec.errors import EngineClosed
from specdec.loading import load_engine
from specdec.process.child import ChildProcess, Stderr
from specdec.process.messages import Factory, Order, Tokenize
from specdec.streams import EngineClient
from specdec.types import EngineInfo, EngineStats, LoadKeywords, LoadOptions, Request, Speculation
from specdec.types.load import Name

_STATS_PATIENCE = 2.0  # seconds; a child that is busier than this is shown as it last was


class ProcessEngine(EngineClient):
    """An engine in a process of its own. Stays alive until `close()`.

    If the process dies, its requests fail with EngineFailed, whose `__cause__` names the signal or the exit code;
    later ones are refused with EngineClosed until `restart()`. One that says nothing (it was stopped, or hangs) is down
    within seconds, and killed if it stays so. `stderr` is where the child's standard error goes, as for
    subprocess.Popen; a screen has to keep it off the terminal. Rounds that end within `gather` seconds
    come together, for a caller that looks only so often.
    """

    def __init__(
        self,
        factory: Factory,
        *,
        progress: Progress | None = None,
        stderr: Stderr = None,
        gather: float = 0.0,
    ) -> None:
        self._factory, self._stderr, self._gather = pickle.dumps(factory), stderr, gather
        self._progress = progress or (lambda _stage, _fraction: None)
        self._lock, self._restarting = threading.Lock(), threading.Lock()
        self._stats = EngineStats()
        self._child = ChildProcess(self._factory, self._stderr, self._gather)
        self._info = self._child.load(self._progress)
        atexit.register(self.close)

    @classmethod
    def load(
        cls,
        target: Name = "bundled",
        draft: Name = "auto",
        *,
        progress: Progress | None = None,
        stderr: Stderr = None,
        gather: float = 0.0,
        **options: Unpack[LoadKeywords],
    ) -> Self:
        """`specdec.load` in a child process: the same options, the same errors."""
        factory = partial(load_engine, LoadOptions.of(target, draft, options))
        return cls(cast("Factory", factory), progress=progress, stderr=stderr, gather=gather)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def down(self) -> str | None:
        return self._child.down

    @property
    def over(self) -> str | None:
        """Why it stays down until `restart()`, or None."""
        return self._child.over

    def stats(self) -> EngineStats:
        """The child's own snapshot; while it is down the last one that was heard, with nothing running."""
        child, answer = self._child, SimpleQueue[EngineStats | BaseException]()
        try:
            child.ask(Order.STATS, answer.put)
            answer.get(timeout=_STATS_PATIENCE)
        except (EngineClosed, Empty):
            pass
        stats = child.stats or self._stats
        if down := child.down:
            off = Speculation(why="unavailable", detail=down)
            return replace(stats, active=0, queued=0, queue=(), speculation=off)
        return stats

    def tokenize(
        self, prompt: Request | str | Iterable[Any], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        answer = SimpleQueue[tuple[int, ...] | BaseException]()
        self._child.ask(Tokenize(to_count(prompt, tools)), answer.put)
        tokens = answer.get()
        if isinstance(tokens, BaseException):
            raise tokens
        return tokens

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        child = self._child  # a stream of an earlier child cancels nothing in a later one
        return partial(child.cancel, child.ask(request, deliver))

    def restart(self) -> None:
        """End what is left of the process and load the engine again. Raises what loading raises."""
        with self._restarting:
            self._child.close()
            with self._lock:
                self._stats = self._child.stats or self._stats
                child = self._child = ChildProcess(self._factory, self._stderr, self._gather)
            self._info = child.load(self._progress)
            atexit.register(self.close)

    def close(self) -> None:
        with self._lock:  # else a restart in another thread could begin a child that nobody ends
            self._child.close()
            atexit.unregister(self.close)
