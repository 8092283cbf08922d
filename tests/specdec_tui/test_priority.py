"""The screen gives way to an engine on the same cores, and the engine's threads do not."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future
from threading import Thread

import pytest

from specdec_tui.core.priority import Starter, give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_what_a_starter_starts_keeps_the_priority_it_was_made_with() -> None:
    found: Future[tuple[int, int]] = Future()

    def gives_way() -> None:
        starter, started = Starter(), Future[int]()
        give_way()
        starter.start(lambda: started.set_result(_nice()), "started")
        found.set_result((_nice(), started.result(5)))

    Thread(target=gives_way).start()
    assert found.result(5) == (max(10, _nice()), _nice())
