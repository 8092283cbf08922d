"""Sessions on disk: saved as they grow, searched by words, and resumed with nothing lost.

Writes go through a queue and never block; reads have a connection of their own.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from specdec.types import Answer, ContentDelta, Delta, Message, ReasoningDelta, ToolCallDelta
from specdec_tui.core.conversation import Conversation, Turn
from specdec_tui.core.schema import connect
from specdec_tui.core.write_queue import Report, Write, WriteQueue

_SETTLE = 2.0  # seconds a reader waits for writes that were handed in before


@dataclass(frozen=True, slots=True)
class Session:
    """A chat's heading. `excerpt` is where a search found its words."""

    id: str
    title: str
    updated: float
    turns: int
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class SavedSession:
    """A whole session, as it was left."""

    session: Session
    conversation: Conversation
    system: str | None
    sampling: Mapping[str, Any]


_KINDS: dict[type[Delta], str] = {ContentDelta: "content", ReasoningDelta: "reasoning", ToolCallDelta: "call"}
_DELTAS = {name: kind for kind, name in _KINDS.items()}


def new_id() -> str:
    return uuid.uuid4().hex[:12]


class Store:
    """One database file."""

    def __init__(self, path: Path, report: Report = lambda why: None) -> None:
        self.path = path
        writing = connect(path)
        self._reading = connect(path)
        writing.row_factory = self._reading.row_factory = sqlite3.Row
        self._queue = WriteQueue(writing, report)
        self._queue.put(_mark_interrupted)
        self._locks: dict[str, FileLock] = {}

    # ------------------------------------------------------------------------------------ whose session it is

    def take(self, session: str) -> bool:
        """Nobody else may write it, until it is released or this process ends. False: somebody else has it."""
        if session in self._locks:
            return True
        folder = self.path.with_name(f"{self.path.name}.open")
        lock = FileLock(folder / session, timeout=0, thread_local=False)
        try:
            folder.mkdir(exist_ok=True)
            lock.acquire()
        except Timeout:
            return False
        except OSError:  # a file system without locks: then as before there were any
            return True
        self._locks[session] = lock
        return True

    def release(self, session: str) -> None:
        if lock := self._locks.pop(session, None):
            lock.release()

    # ------------------------------------------------------------------------------------ writing

    def begin(self, session: str, title: str, system: str | None = None) -> None:
        self.take(session)
        now = time.time()
        values = (session, title, now, now, system)
        self._put("INSERT OR IGNORE INTO session (id, title, created, updated, system) VALUES (?, ?, ?, ?, ?)", values)

    def save(self, session: str, turn: Turn) -> None:
        """A turn that is new or has changed; it becomes the session's head. What is finished can be searched."""

        def write(connection: sqlite3.Connection) -> None:
            message, figures = json.dumps(asdict(turn.message)), json.dumps(dict(turn.figures))
            owner = os.getpid() if turn.state == "running" else None
            values = (session, turn.id, turn.parent, turn.message.role, message, turn.state, owner, figures)
            (key,) = connection.execute(_SAVE, values).fetchone()
            connection.execute("DELETE FROM growth WHERE turn = ?", (key,))
            if turn.state != "running":
                _index(connection, key, turn.text)
                now = time.time()
                connection.execute("UPDATE session SET updated = ?, head = ? WHERE id = ?", (now, turn.id, session))

        self._queue.put(write)

    def grow(self, session: str, turn: Turn, deltas: Sequence[Delta]) -> None:
        """What is new of a running answer. Nothing else of its text is written, however long it has become."""

        def write(connection: sqlite3.Connection) -> None:
            figures = json.dumps(dict(turn.figures))
            found = connection.execute(_GROW, (figures, session, turn.id)).fetchone()
            if found:  # else it was taken back
                pieces = json.dumps([[_KINDS[type(delta)], *astuple(delta)] for delta in deltas])
                connection.execute("INSERT INTO growth (turn, deltas) VALUES (?, ?)", (found[0], pieces))

        self._queue.put(write)

    def drop(self, session: str, turn: int) -> None:
        self._put("DELETE FROM turn WHERE session = ? AND id = ?", (session, turn))

    def show(self, session: str, head: int | None) -> None:
        """Which path of the conversation is shown."""
        self._put("UPDATE session SET head = ? WHERE id = ?", (head, session))

    def configure(self, session: str, system: str | None, sampling: Mapping[str, Any]) -> None:
        values = (system, json.dumps(sampling), session)
        self._put("UPDATE session SET system = ?, sampling = ? WHERE id = ?", values)

    def rename(self, session: str, title: str) -> None:
        self._put("UPDATE session SET title = ?, named = 1 WHERE id = ?", (title, session))

    def delete(self, session: str) -> bool:
        """False where it is open elsewhere: whoever writes it could not go on."""
        if not self.take(session):
            return False
        self._put("DELETE FROM session WHERE id = ?", (session,))
        self.release(session)
        return True

    def save_preset(self, name: str, values: Mapping[str, Any]) -> None:
        self._put("INSERT OR REPLACE INTO preset VALUES (?, ?)", (name, json.dumps(values)))

    def close(self) -> int:
        """Returns how many changes could not be written."""
        left = self._queue.close()
        for session in list(self._locks):
            self.release(session)
        self._reading.close()
        return left

    # ------------------------------------------------------------------------------------ reading

    def sessions(self, most: int = 500) -> list[Session]:
        """The latest first."""
        return [_session(row) for row in self._rows(_SESSIONS, (most,))]

    def search(self, words: str, most: int = 100) -> list[Session]:
        """Sessions whose turns have all the words, or words that begin so; titles count too."""
        query = " ".join('"' + word.replace('"', '""') + '"*' for word in words.split())
        if not query:
            return self.sessions(most)
        return [_session(row) for row in self._rows(_SEARCH, (query, words.strip(), most))]

    def prompts(self, words: str = "", most: int = 200) -> list[str]:
        """What was asked in any chat and has all the words, the latest first, each once."""
        return [row["text"] for row in self._rows(_PROMPTS, (json.dumps(words.lower().split()), most))]

    def load(self, session: str) -> SavedSession | None:
        rows = self._rows(_ONE, (session,))
        if not rows:
            return None
        head, system, sampling = rows[0]["head"], rows[0]["system"], json.loads(rows[0]["sampling"])
        turns = [
            Turn(row["id"], row["parent"], _message(row), row["state"], json.loads(row["figures"]))
            for row in self._rows(_PATHS, (session,))
        ]
        return SavedSession(_session(rows[0]), Conversation(turns, head), system, sampling)

    def presets(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: json.loads(row["sampling"]) for row in self._rows("SELECT * FROM preset", ())}

    def _put(self, statement: str, values: tuple[Any, ...]) -> None:
        write: Write = lambda connection: connection.execute(statement, values)  # noqa: E731
        self._queue.put(write)

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        self._queue.settle(_SETTLE)
        return self._reading.execute(statement, values).fetchall()


_SAVE = """
INSERT INTO turn (session, id, parent, role, message, state, owner, figures) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (session, id) DO UPDATE SET message = excluded.message, state = excluded.state, owner = excluded.owner,
figures = excluded.figures RETURNING key
"""
_GROW = "UPDATE turn SET figures = ? WHERE session = ? AND id = ? RETURNING key"
_HEADING = """
SELECT s.id, s.title, s.updated, s.head, s.system, s.sampling,
       (SELECT count(*) FROM turn WHERE session = s.id) AS turns, {excerpt} AS excerpt FROM session s
"""
_SESSIONS = _HEADING.format(excerpt="''") + " ORDER BY s.updated DESC LIMIT ?"
_ONE = _HEADING.format(excerpt="''") + " WHERE s.id = ?"
_TURNS = """
SELECT *, (
    SELECT json_group_array(json(deltas)) FROM (SELECT deltas FROM growth WHERE turn = t.key ORDER BY key)
) AS grown FROM turn t
"""
_RUNNING = _TURNS + "WHERE state = 'running'"
_PATHS = _TURNS + "WHERE session = ? ORDER BY id"
_EXCERPT = "coalesce((SELECT excerpt FROM found WHERE session = s.id ORDER BY rank LIMIT 1), '')"
_SEARCH = f"""
WITH found AS (
    SELECT t.session, snippet(words, 0, '', '', '…', 12) AS excerpt, rank
    FROM words JOIN turn t ON t.key = words.rowid WHERE words MATCH ?
)
{_HEADING.format(excerpt=_EXCERPT)}
WHERE s.id IN (SELECT session FROM found) OR instr(lower(s.title), lower(?)) ORDER BY s.updated DESC LIMIT ?
"""  # noqa: S608  (put together from constants)
_PROMPTS = """
SELECT json_extract(message, '$.content') AS text FROM turn WHERE role = 'user'
AND NOT EXISTS (SELECT 1 FROM json_each(?) WHERE instr(lower(json_extract(turn.message, '$.content')), value) = 0)
GROUP BY text ORDER BY max(key) DESC LIMIT ?
"""


def _message(row: sqlite3.Row) -> Message:
    """As it was saved, and all that came afterwards."""
    message, grown = Message.of(json.loads(row["message"])), json.loads(row["grown"])
    if not grown:
        return message
    answer = Answer()
    answer.content, answer.reasoning = message.content or "", message.reasoning or ""
    answer.calls = dict(enumerate(message.tool_calls))
    for kind, *values in chain.from_iterable(grown):
        answer.grow(_DELTAS[kind](*values))
    return answer.message


def _index(connection: sqlite3.Connection, key: int, text: str) -> None:
    connection.execute("DELETE FROM words WHERE rowid = ?", (key,))
    connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (key, text))


def _mark_interrupted(connection: sqlite3.Connection) -> None:
    """Answers whose chat ended while they came: the process that wrote them is gone."""
    for row in connection.execute(_RUNNING).fetchall():
        if _alive(row["owner"]):
            continue
        key, message = row["key"], _message(row)
        connection.execute(
            "UPDATE turn SET state = 'interrupted', owner = NULL, message = ? WHERE key = ?",
            (json.dumps(asdict(message)), key),
        )
        connection.execute("DELETE FROM growth WHERE turn = ?", (key,))
        connection.execute("UPDATE session SET head = ? WHERE id = ?", (row["id"], row["session"]))
        _index(connection, key, message.content or "")


def _alive(process: int) -> bool:
    if process == os.getpid() or sys.platform == "win32":
        return False  # this one has just begun; and on Windows signal 0 would end the other
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _session(row: sqlite3.Row) -> Session:
    return Session(row["id"], row["title"], row["updated"], row["turns"], row["excerpt"])
