"""Writes to the sessions' database from a thread of its own: whoever hands in a write never waits for a disk.

A write that fails (a full disk, a locked file) is kept and tried again, in order, until it succeeds.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

Write = Callable[[sqlite3.Connection], object]
Report = Callable[[str | None], None]
"""Told why writing fails, and None when it works again; called in the queue's thread."""

_RETRY = 1.0  # seconds


class WriteQueue:
    """Writes that wait, and the thread that does them."""

    def __init__(self, connection: sqlite3.Connection, report: Report) -> None:
        self._connection, self._report = connection, report
        self._writes: deque[Write] = deque()
        self._changed = threading.Condition()
        self._closing = self._failing = False
        self._thread = threading.Thread(target=self._work, name="specdec-writes", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        with self._changed:
            self._writes.append(write)
            self._changed.notify_all()

    def settle(self, patience: float) -> bool:
        """Wait until all is written; False if it is not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._writes, patience)

    def close(self, patience: float = 3.0) -> int:
        """Write what can be written; returns how many writes could not."""
        self.settle(patience)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(patience)
        if not self._thread.is_alive():
            self._connection.close()
        return len(self._writes)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._writes or self._closing)
                if self._closing:
                    return
                write = self._writes[0]
            error = self._try(write)
            if (error is not None) != self._failing:
                self._failing = error is not None
                self._report(str(error) if error else None)
            with self._changed:
                if error is None:
                    self._writes.popleft()
                    self._changed.notify_all()
                elif not self._closing:
                    self._changed.wait(_RETRY)

    def _try(self, write: Write) -> sqlite3.Error | None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            write(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            return error
        return None
