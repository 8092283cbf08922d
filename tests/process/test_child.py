"""How a child begins and ends: load errors, crashes, restarts, parents that die, and what is left behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from specdec.errors import (
    CheckpointNotFound,
    EngineBusy,
    EngineClosed,
    EngineFailed,
    InvalidRequest,
    PromptTooLong,
    TokenizerMismatch,
)
from specdec.process import ProcessEngine, child
from specdec.process.messages import Call, Order, Tokenize
from specdec.types import Request
from tests.engine_contract import eventually
from tests.process import factories
from tests.process.watching import alive, children, descriptors, running

ROOT = Path(__file__).parents[2]
LONG: dict[str, Any] = {"max_tokens": factories.HELD}

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes through /proc")


def script(body: str) -> subprocess.Popen[str]:
    """A parent in a fresh process, leader of its own group."""
    head = (
        "import os, sys, signal\nfrom specdec.process import ProcessEngine\n"
        "from tests.process import factories\nfrom tests.process.watching import children\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def test_the_parent_never_imports_torch_and_starts_nothing_else() -> None:
    with script(
        "with ProcessEngine(factories.toy) as engine:\n"
        "    assert engine.generate('abc', max_tokens=3, seed=1, ignore_eos=True).usage.completion_tokens == 3\n"
        "    engine.stats()\n"
        "    print(children() == {engine.pid})\n"
        "print({'torch', 'transformers', 'multiprocessing'} & set(sys.modules))"
    ) as parent:
        out, err = parent.communicate()
    assert (out, err) == ("True\nset()\n", "")


def test_a_script_without_a_main_guard_may_start_one(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text(
        "from specdec.process import ProcessEngine\nfrom tests.process import factories\n"
        "print(ProcessEngine(factories.held).generate('a', max_tokens=4).text)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, path], capture_output=True, text=True, env=environment, check=True)
    assert (ran.stdout, ran.stderr) == ("Once upon a time\n", "")


def test_stages_are_forwarded_in_order() -> None:
    stages: list[tuple[str, float]] = []
    with ProcessEngine(factories.held, progress=lambda *stage: stages.append(stage)):
        assert stages == [("target", 0.0), ("ready", 1.0)]


@pytest.mark.parametrize(
    ("factory", "kind", "message"),
    [
        (factories.mismatch, TokenizerMismatch, "^draft and target differ at token 7$"),
        (factories.foreign, RuntimeError, "^ForeignError: out of memory"),
        (factories.dies, EngineFailed, "^the engine's process was killed by SIGKILL"),
    ],
)
def test_what_fails_to_load_says_so_and_leaves_nothing(factory: Any, kind: type[Exception], message: str) -> None:
    before = children(), descriptors(), threading.active_count()
    with pytest.raises(kind, match=message):
        ProcessEngine(factory)
    gc.collect()
    assert (children(), descriptors(), threading.active_count()) == before


def test_load_takes_the_options_of_load_and_raises_its_errors(tmp_path: Path) -> None:
    stages: list[str] = []
    with pytest.raises(CheckpointNotFound, match="nowhere"):
        ProcessEngine.load(str(tmp_path / "nowhere"), progress=lambda stage, _: stages.append(stage))
    assert stages == ["target"]


def test_whoever_raises_from_progress_stops_loading() -> None:
    before = children()

    def refuse(stage: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ProcessEngine(factories.never, progress=refuse)
    assert children() == before


def test_a_kill_fails_what_is_running_and_a_restart_brings_it_back() -> None:
    with ProcessEngine(factories.held) as engine:
        first, streams = engine.pid, [engine.stream("a", **LONG) for _ in range(3)]
        for events in streams:
            next(events)
        os.kill(engine.pid, signal.SIGKILL)
        for events in streams:
            with pytest.raises(EngineFailed, match="was killed by SIGKILL") as caught:
                list(events)
            assert isinstance(caught.value.__cause__, ChildProcessError)
        with pytest.raises(EngineClosed, match=r"killed by SIGKILL; restart\(\) brings it back"):
            engine.generate("a")
        assert "killed by SIGKILL" in engine.stats().speculation.reason
        assert not alive(first)

        engine.restart()
        assert engine.pid != first
        assert engine.generate("a", max_tokens=4).text == "Once upon a time"
        streams[0].close()  # of an earlier child: nothing to the new one
        assert engine.stats().finished == 1


async def test_a_kill_fails_what_is_awaited() -> None:
    with ProcessEngine(factories.held) as engine:
        events = engine.astream("a", **LONG)
        await events.__anext__()
        await events.__anext__()
        waiting = asyncio.ensure_future(events.__anext__())
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="SIGKILL"):
            await waiting


@pytest.mark.parametrize(("prompt", "how"), [("exit", "ended with exit code 7"), ("segfault", "killed by SIGSEGV")])
def test_the_cause_of_a_crash_is_named(prompt: str, how: str) -> None:
    engine = ProcessEngine(factories.dying, stderr=subprocess.DEVNULL)
    with engine, pytest.raises(EngineFailed, match=how):
        engine.stream(prompt)


def test_an_engine_that_fails_is_told_with_its_cause() -> None:
    with ProcessEngine(factories.dying) as engine:
        with pytest.raises(EngineFailed, match="the engine failed and is closed") as caught:
            engine.generate("break")
        cause = caught.value.__cause__
        assert isinstance(cause, RuntimeError)
        assert str(cause) == "ForeignError: a kernel broke"
        assert cause.__notes__[0].startswith("in the engine's process:\n")


def test_closing_leaves_nothing_behind() -> None:
    before = children(), descriptors(), threading.active_count(), set(os.listdir("/dev/shm"))
    for _ in range(2):
        engine = ProcessEngine(factories.held)
        events = engine.stream("a", **LONG)
        engine.close()
        assert not alive(engine.pid)
        with pytest.raises(EngineClosed):
            list(events)
    del engine, events
    gc.collect()
    assert (children(), descriptors(), threading.active_count(), set(os.listdir("/dev/shm"))) == before


def test_a_closed_engine_can_be_restarted() -> None:
    engine = ProcessEngine(factories.held)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.stream("a")
    engine.restart()
    assert engine.generate("a", max_tokens=2).text == "Once upon"
    engine.close()


def test_closing_while_a_restart_loads_ends_it() -> None:
    engine = ProcessEngine(factories.held)
    loading, failed = threading.Event(), threading.Event()
    engine._factory, engine._progress = pickle.dumps(factories.never), lambda *_: loading.set()

    def restart() -> None:
        with pytest.raises(EngineClosed):
            engine.restart()
        failed.set()

    threading.Thread(target=restart).start()
    assert loading.wait(20)
    engine.close()
    assert failed.wait(20)
    assert not alive(engine.pid)


@contextmanager
def loading_again(gate: Path) -> Iterator[ProcessEngine]:
    """An engine that has answered once and is in the middle of a restart; it ends once `gate` is there."""
    gate.touch()
    with ProcessEngine(partial(factories.gated, gate=gate)) as engine:
        engine.generate("a", max_tokens=4)
        eventually(lambda: engine.stats().finished == 1)
        gate.unlink()
        loading = threading.Event()
        engine._progress = lambda *_: loading.set()
        restarting = threading.Thread(target=engine.restart)
        restarting.start()
        assert loading.wait(20)
        try:
            yield engine
        finally:
            gate.touch()
            restarting.join(20)


async def test_while_it_loads_again_it_is_down_and_its_stats_are_the_last(tmp_path: Path) -> None:
    with loading_again(tmp_path / "gate") as engine:
        assert engine.down == "the engine is still loading"
        assert engine.over is None
        stats = engine.stats()
        assert (stats.finished, stats.active) == (1, 0)
        assert stats.speculation.reason == "the engine is still loading"
        with pytest.raises(EngineClosed, match=r"^the engine is still loading; try again later$"):
            engine.generate("a")
        with pytest.raises(EngineClosed, match="loading"):
            engine.astream("a")
        with pytest.raises(EngineClosed, match="loading"):
            engine.tokenize("a")
        (tmp_path / "gate").touch()
        await asyncio.to_thread(eventually, lambda: engine.down is None)
        assert engine.generate("a", max_tokens=4).text == "Once upon a time"
        assert engine.stats().finished == 1


def test_a_call_that_comes_while_the_child_loads_is_refused_and_the_next_is_heard(tmp_path: Path) -> None:
    """The parent makes none by then; the child relies on nothing."""
    calls: list[Call] = [Order.STATS, Order.CANCEL, Tokenize(Request.of("a")), Request.of("a")]
    with loading_again(tmp_path / "gate") as engine:
        engine._child._loaded = True
        for call in calls:
            answer = SimpleQueue[Any]()
            engine._child.ask(call, answer.put)
            refused = answer.get(timeout=20)
            assert isinstance(refused, EngineClosed) and str(refused) == "the engine is still loading"


def test_whatever_fails_in_the_child_is_an_answer_and_the_next_call_is_heard() -> None:
    engine = ProcessEngine(factories.broken, stderr=subprocess.DEVNULL)
    with engine:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="a bug"):
                engine.tokenize("a")
            assert engine.stats().finished == 0, "the last known, as there are no others"
            events = engine.stream("a", max_tokens=300)
            next(events)
            events.close()
            with pytest.raises(InvalidRequest, match="values that another process can read"):
                engine.stream("a", client=Exits("me"))
        assert engine.down is None
        assert engine.generate("a", max_tokens=4).text == "Once upon a time"


def test_a_child_that_hears_nothing_any_more_ends() -> None:
    with ProcessEngine(factories.held, stderr=subprocess.DEVNULL) as engine:
        events = engine.stream("a", **LONG)
        engine._child._outgoing.put(pickle.dumps("not a call"))
        eventually(lambda: engine.down == "the engine's process ended with exit code 1")
        with pytest.raises(EngineFailed, match="ended with exit code 1"):
            list(events)
        assert engine.over == engine.down
        engine.restart()
        assert engine.down is None


def test_an_engine_that_fails_in_the_child_is_down_when_its_answers_say_so() -> None:
    with ProcessEngine(factories.failing) as engine:
        with pytest.raises(EngineFailed, match="the toy broke"):
            engine.generate("abc", max_tokens=200, ignore_eos=True)
        assert engine.over == engine.down
        assert "the toy broke" in (engine.down or "")
        with pytest.raises(EngineClosed, match=r"the toy broke.*; restart\(\) brings it back"):
            engine.generate("abc")


def test_a_stopped_child_is_down_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessEngine(factories.held) as engine:
        under_way = engine.stream("a", **LONG)
        next(under_way)
        os.kill(engine.pid, signal.SIGSTOP)
        monkeypatch.setattr(child, "_QUIET", 2)
        with pytest.raises(EngineClosed, match=r"has not answered for \d s; try again later"):
            engine.generate("a")  # nobody has promised anything yet
        assert "has not answered" in (engine.down or "")
        assert engine.over is None
        assert engine.stats().speculation.reason == engine.down
        with pytest.raises(EngineClosed, match=r"has not answered for \d s; try again later"):
            engine.tokenize("a")
        os.kill(engine.pid, signal.SIGCONT)
        eventually(lambda: engine.down is None)
        assert next(under_way).text == " upon a time"
        eventually(lambda: engine.stats().active == 1)  # the one that was given up is cancelled


def test_a_child_that_stays_silent_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessEngine(factories.held) as engine:
        events = engine.stream("a", **LONG)
        os.kill(engine.pid, signal.SIGSTOP)
        with monkeypatch.context() as impatient:
            impatient.setattr(child, "_QUIET", 1)
            impatient.setattr(child, "_LOST", 2)
            with pytest.raises(EngineFailed, match=r"did not answer for \d s and was killed; restart\(\)"):
                list(events)
        assert engine.over == engine.down
        assert re.fullmatch(r"the engine's process did not answer for \d s and was killed", engine.over or "")
        eventually(lambda: not alive(engine.pid))
        engine.restart()
        assert engine.generate("a", max_tokens=4).text == "Once upon a time"


def test_a_busy_child_is_not_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that hears calls is at work for longer than silence would be suffered."""
    monkeypatch.setattr(child, "_QUIET", 2)
    with ProcessEngine(factories.pondering) as engine:
        said: list[str | None] = []
        asking = threading.Thread(target=lambda: said.append(engine.generate("a", max_tokens=4).text))
        asking.start()
        while asking.is_alive():
            assert engine.down is None
            asking.join(0.01)
        assert said == ["Once upon a time"]


@pytest.mark.parametrize("state", ["held", "never"])
def test_a_parent_that_is_killed_takes_its_child_with_it(state: str) -> None:
    body = (
        "def show(stage, fraction):\n"
        "    print(*children(), stage, flush=True)\n"
        f"engine = ProcessEngine(factories.{state}, progress=show)\n"
        "events = engine.stream('a', max_tokens=factories.HELD)\n"
        "next(events), print('reading', flush=True), list(events)\n"
    )
    with script(body) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline().split()[0])
        while state == "held" and parent.stdout.readline() != "reading\n":
            pass
        assert running(child)
        parent.kill()
    eventually(lambda: not running(child))


def test_a_fork_that_outlives_the_parent_does_not_keep_the_child() -> None:
    body = (
        "engine = ProcessEngine(factories.held)\n"
        "fork = os.fork()\n"
        "if fork == 0:\n"
        "    signal.pause()\n"
        "print(engine.pid, fork, flush=True), signal.pause()\n"
    )
    with script(body) as parent:
        assert parent.stdout
        child, fork = map(int, parent.stdout.readline().split())
        parent.kill()
        parent.wait()
        try:
            eventually(lambda: not running(child))
        finally:
            os.kill(fork, signal.SIGKILL)


def test_an_interrupt_in_the_terminal_is_for_the_parent_alone() -> None:
    body = (
        "engine = ProcessEngine(factories.held)\n"
        "events = engine.stream('a', max_tokens=factories.HELD)\n"
        "try:\n"
        "    print(engine.pid, flush=True)\n"
        "    list(events)\n"
        "except KeyboardInterrupt:\n"
        "    events.close()\n"
        "    print(engine.generate('a', max_tokens=4).text)\n"
        "    while not engine.stats().cancelled: pass\n"
    )
    with script(body) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        out, err = parent.communicate()
    assert (out, err) == ("Once upon a time\n", "")
    assert not running(child)


def test_interrupts_while_it_starts_leave_no_traceback_of_the_child() -> None:
    body = (
        "def show(stage, fraction): print(stage, flush=True)\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "print('starting', flush=True)\n"
        "engine = ProcessEngine(factories.held, progress=show)\n"
    )
    with script(body) as parent:
        assert parent.stdout
        while parent.stdout.readline() not in ("target\n", ""):
            os.killpg(parent.pid, signal.SIGINT)
        _, err = parent.communicate()
    assert (err, parent.returncode) == ("", 0)


def test_what_the_child_prints_does_not_disturb_the_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    with ProcessEngine(factories.dying) as engine:
        assert engine.generate("print", max_tokens=2).text == "Once upon"
    assert capfd.readouterr() == ("", "a library that prints")


def test_what_only_the_child_knows_is_refused_by_the_call() -> None:
    with ProcessEngine(factories.held) as engine:
        with pytest.raises(
            PromptTooLong, match="prompt is too long: 300 tokens; expected at most 255 tokens"
        ) as caught:
            engine.stream("too long")
        assert caught.value.field == "prompt"
        with pytest.raises(EngineBusy, match="256 requests are waiting"):
            engine.generate("busy")
        with pytest.raises(InvalidRequest, match="another process"):
            engine.stream("a", client=Unknown("me"))
        assert engine.stats().active == 0


class Unknown(str):
    """Of a module that the child cannot import."""

    __slots__ = ()

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _import, ("nowhere",)


class Exits(Unknown):
    """Reading it ends the thread that does, and a program if that is its first."""

    __slots__ = ()

    def __reduce__(self) -> str | tuple[Any, ...]:
        return sys.exit, ("bye",)


def _import(name: str) -> Any:
    return __import__(name)


async def test_an_async_call_is_refused_before_its_first_event() -> None:
    with ProcessEngine(factories.held) as engine:
        refused = engine.astream("too long")
        with pytest.raises(InvalidRequest, match="300 tokens"):
            await refused.__anext__()
        assert [event async for event in refused] == []
        with pytest.raises(InvalidRequest, match="300 tokens"):
            await engine.astream("too long").admitted()
        admitted = engine.astream("a", max_tokens=4)
        await admitted.admitted()
        assert "".join([event.text async for event in admitted]) == "Once upon a time"
