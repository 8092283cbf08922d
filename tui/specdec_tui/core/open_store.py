"""Opens the sessions' database whatever state it is in: what cannot be used is kept aside, told, and begun anew."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from specdec_tui.core.store import Store
from specdec_tui.core.write_queue import Report

_LOCKED = ("locked", "busy")


def open_store(path: Path, report: Report) -> tuple[Store, str | None]:
    """The store, and in one line what had to be done about it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Store(path, report), None
    except (sqlite3.DatabaseError, OSError) as error:
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.OperationalError):
            return _elsewhere(path, error, report)
        damage = str(error)
    # a damaged file gets another name
    aside = path.with_name(f"{path.stem}.damaged-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
    path.rename(aside)
    for log in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + log).rename(aside.with_name(aside.name + log))
    return Store(path, report), f"the sessions' database is damaged ({damage}); it was kept as {aside}"


def _elsewhere(path: Path, error: Exception, report: Report) -> tuple[Store, str]:
    """The file is left to whoever holds it; a new one goes beside it, or where there is room to write."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    beside = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
    if any(word in str(error) for word in _LOCKED):
        return Store(beside, report), f"{path} is locked by another program; this chat is saved in {beside}"
    there = Path(tempfile.mkdtemp(prefix="specdec-")) / path.name
    return Store(there, report), f"{path} cannot be opened ({error}); this chat is saved in {there}"
