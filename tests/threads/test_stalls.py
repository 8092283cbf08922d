"""What is counted as a stopped thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from specdec.threads import stalls
from specdec.threads.stalls import Stalls

SECOND = 1_000_000_000


class Tasks:
    """Threads as the system would show them, and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.now = folder, 0
        monkeypatch.setattr(stalls, "_TASKS", str(folder))
        monkeypatch.setattr(stalls, "perf_counter_ns", lambda: self.now)

    def put(self, thread: str, ran: float, waited: float) -> None:
        (self.folder / thread).mkdir(exist_ok=True)
        (self.folder / thread / "schedstat").write_text(f"{int(ran * SECOND)} {int(waited * SECOND)} 17\n")


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    return Tasks(tmp_path, monkeypatch)


def test_what_threads_that_compute_have_waited_since_the_last_look(tasks: Tasks) -> None:
    tasks.put("1", 10, 1)
    tasks.put("2", 10, 5)
    seen = Stalls()
    tasks.now += 2 * SECOND
    tasks.put("1", 11.5, 1.5)
    tasks.put("2", 11.7, 5.3)
    assert seen.share() == pytest.approx((0.5 + 0.3) / 2)
    tasks.now += SECOND
    tasks.put("1", 12.5, 1.5)
    tasks.put("2", 12.2, 5.8)
    assert seen.share() == pytest.approx(0.5)


def test_a_thread_that_mostly_sleeps_does_not_count(tasks: Tasks) -> None:
    tasks.put("1", 10, 1)
    seen = Stalls()
    tasks.now += SECOND
    tasks.put("1", 10.1, 1.3)
    assert seen.share() == 0


def test_threads_come_and_go(tasks: Tasks) -> None:
    tasks.put("1", 10, 1)
    seen = Stalls()
    tasks.now += SECOND
    (tasks.folder / "1" / "schedstat").unlink()
    tasks.put("2", 0.5, 0.5)
    assert seen.share() == 0


def test_a_system_that_does_not_say_has_no_stalls(tasks: Tasks) -> None:
    tasks.folder.rmdir()
    seen = Stalls()
    tasks.now += SECOND
    assert seen.share() == 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not say")
def test_this_very_thread_is_seen() -> None:
    assert str(threading.get_native_id()) in stalls._times()
