"""A loop's work puts the byte up, its waiting puts it down."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

import pytest

from specdec import courtesy
from specdec.courtesy import Courtesy
from tests.engine_contract import eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes share no file descriptors there")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Courtesy:
    """One that this process watches itself."""
    monkeypatch.setattr(courtesy, "_watched", None)
    asking = Courtesy()
    (descriptor,) = asking.inherited
    courtesy.watch(os.dup(descriptor))
    return asking


def test_nobody_wants_a_core_before_somebody_asks(shared: Courtesy) -> None:
    assert courtesy.watching()
    assert not courtesy.wanted()
    shared.ask(True)
    assert courtesy.wanted()


def test_a_loop_asks_while_it_works_and_not_while_it_waits(shared: Courtesy) -> None:
    seen: list[bool] = []

    async def work() -> None:
        seen.append(courtesy.wanted())
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def watch() -> None:
            eventually(lambda: not courtesy.wanted())
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch).start()
        await stop.wait()
        seen.append(courtesy.wanted())

    with asyncio.Runner(loop_factory=shared.new_event_loop) as runner:
        runner.run(work())
    assert seen == [True, True]
    assert not courtesy.wanted(), "a loop that is closed still asks"


def test_a_loop_that_has_more_to_do_keeps_asking(shared: Courtesy, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    async def work() -> None:
        await asyncio.sleep(0.001)  # from here on it has waited once
        monkeypatch.setattr(shared, "ask", asked.append)
        for _ in range(5):
            await asyncio.sleep(0)
        assert asked == [True] * 5

    with asyncio.Runner(loop_factory=shared.new_event_loop) as runner:
        runner.run(work())


def test_the_engine_gets_a_moment_to_notice(shared: Courtesy, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[tuple[float, bool]] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: waited.append((seconds, courtesy.wanted())))
    with asyncio.Runner(loop_factory=shared.new_event_loop) as runner:
        runner.run(asyncio.sleep(0.001))
    assert waited
    assert set(waited) == {(courtesy._NOTICE, True)}
