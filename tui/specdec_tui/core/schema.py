"""The sessions' database: its tables, and how a file of it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_PATIENCE = 2.0
"""Seconds to wait for whoever else writes."""

_VERSIONS = (
    """
CREATE TABLE session (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, named INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL,
    updated REAL NOT NULL, head INTEGER, system TEXT, sampling TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE turn (
    key INTEGER PRIMARY KEY, session TEXT NOT NULL REFERENCES session ON DELETE CASCADE, id INTEGER NOT NULL,
    parent INTEGER, role TEXT NOT NULL, message TEXT NOT NULL, state TEXT NOT NULL, owner INTEGER,
    figures TEXT NOT NULL DEFAULT '{}', UNIQUE (session, id)
);
CREATE VIRTUAL TABLE words USING fts5 (text);
CREATE TRIGGER turn_gone AFTER DELETE ON turn BEGIN DELETE FROM words WHERE rowid = old.key; END;
CREATE TABLE preset (name TEXT PRIMARY KEY, sampling TEXT NOT NULL);
""",
    """
CREATE TABLE growth (
    key INTEGER PRIMARY KEY, turn INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE, deltas TEXT NOT NULL
);
CREATE INDEX growth_of ON growth (turn);
""",
)
"""What each version added. `growth` is what came of a running answer since its turn was saved."""
VERSION = len(_VERSIONS)


def connect(path: Path) -> sqlite3.Connection:
    """An open, sound database of this version; raises sqlite3.Error otherwise."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < VERSION:
            for statements in _VERSIONS[version:]:
                for statement in statements.strip().split(";\n"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
        if version > VERSION:
            raise sqlite3.DatabaseError(f"it has version {version}; expected {VERSION}")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
    except sqlite3.Error:
        connection.close()
        raise
    return connection
