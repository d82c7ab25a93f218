"""The census in SQLite."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from daglens.demo.sources import FileCount

LONGEST_ALLOWED = 3_000
"""Lines that a module may have at most, in the opinion of this census."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, package TEXT NOT NULL, lines INTEGER NOT NULL, functions INTEGER NOT NULL,
    classes INTEGER NOT NULL
)
"""
_STRICT_SCHEMA = f"CREATE TABLE strict_files (path TEXT PRIMARY KEY, lines INTEGER CHECK (lines <= {LONGEST_ALLOWED}))"


class TooLong(Exception):
    """A module is longer than the census allows."""


class CensusRefused(Exception):
    """The census can't be published."""


def load(database: Path, counts: Iterable[FileCount]) -> int:
    """Store the counts; how many rows there are then.

    Raises:
        sqlite3.OperationalError: Somebody else is writing.
    """
    rows = [(c.path, c.package, c.lines, c.functions, c.classes) for c in counts if c.unreadable is None]
    with closing(sqlite3.connect(database, timeout=0.1)) as connection, connection:
        connection.execute(_SCHEMA)
        connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)
        return int(connection.execute("SELECT count(*) FROM files").fetchone()[0])


class Backup:
    """Somebody who holds the database's lock for a while, as nightly backups do."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._connection.execute("PRAGMA journal_mode=DELETE")
        self._connection.execute("BEGIN EXCLUSIVE")

    def finish(self) -> None:
        """Let go. May be called twice."""
        with self._lock:
            self._connection.close()


def refuse_long_modules(database: Path) -> None:
    """Copy the census into a table that takes no module above the limit.

    Raises:
        CensusRefused: There is one; its causes say which, and how SQLite put it.
    """
    try:
        _copy_strictly(database)
    except TooLong as error:
        raise CensusRefused("The census breaks its own rules, so it isn't published.") from error


def _copy_strictly(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT path, lines FROM files ORDER BY lines DESC").fetchall()
        connection.execute(_STRICT_SCHEMA)
        for path, lines in rows:
            try:
                connection.execute("INSERT INTO strict_files VALUES (?, ?)", (path, lines))
            except sqlite3.IntegrityError as error:
                raise TooLong(f"{path} has {lines:,} lines; {LONGEST_ALLOWED:,} are allowed.") from error
