"""Databases that cannot be used: told in one line, kept, and a fresh one begun. Writes that fail are kept too."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from specdec_tui.core.open_store import open_store
from specdec_tui.core.schema import connect
from specdec_tui.core.write_queue import WriteQueue


def _quiet(why: str | None) -> None:
    """Nobody needs to hear it here."""


def test_a_new_file_needs_no_word(tmp_path: Path) -> None:
    store, note = open_store(tmp_path / "deep" / "sessions.db", _quiet)
    assert note is None
    assert store.close() == 0


def test_a_damaged_file_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 50)
    store, note = open_store(path, _quiet)
    assert note is not None
    assert "damaged" in note
    assert "\n" not in note
    kept = next(tmp_path.glob("sessions.damaged-*.db"))
    assert kept.read_bytes().startswith(b"not a database")
    store.begin("a", "title")
    assert [s.id for s in store.sessions()] == ["a"]
    store.close()


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store, _ = open_store(path, _quiet)
    for i in range(300):
        store.begin(f"session {i}", "title " * 20)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 8] = b"\xff" * 4096 * 5
    path.write_bytes(content)
    store, note = open_store(path, _quiet)
    assert note is not None
    assert list(tmp_path.glob("sessions.damaged-*.db"))
    store.close()


def test_a_locked_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec_tui.core.schema._PATIENCE", 0.05)
    path = tmp_path / "sessions.db"
    connect(path).close()
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        store, note = open_store(path, _quiet)
        assert note is not None
        assert "locked" in note
        assert store.path != path
        store.close()


def test_a_file_of_a_later_version_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    store, note = open_store(path, _quiet)
    assert note is not None
    assert "version 99" in note
    store.close()


def test_failed_writes_are_told_once_kept_and_done_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec_tui.core.write_queue._RETRY", 0.01)
    told: list[str | None] = []
    again, room = threading.Event(), threading.Event()

    def report(why: str | None) -> None:
        told.append(why)
        if why is None:
            again.set()

    def write(connection: sqlite3.Connection) -> None:
        if not room.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        connection.execute("INSERT INTO preset VALUES ('a', '{}')")

    queue = WriteQueue(connect(tmp_path / "sessions.db"), report)
    queue.put(write)
    assert not queue.settle(0.1)
    room.set()
    assert again.wait(10)
    assert told == ["database or disk is full", None]
    assert queue.close() == 0


def test_what_could_not_be_written_is_counted_at_the_end(tmp_path: Path) -> None:
    def write(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    queue = WriteQueue(connect(tmp_path / "sessions.db"), _quiet)
    queue.put(write)
    assert queue.close(0.05) == 1
